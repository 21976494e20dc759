"""The tour: a container built step by step in front of you, each step with what it changed, then used and taken down."""

import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from scratchlab.container import Container
from scratchlab.sandbox.client import LocalKeeper
from scratchlab.sandbox.sandbox import Sandbox
from scratchlab.stages import Step, about, cgroups

SERVER = ("python3", "-u", "-m", "http.server", "80", "--directory", "/etc")


def show(rootfs: str) -> None:
    """Build, use and take down a container in `rootfs`, and print what happens."""
    port = _free_port()
    container = Container(rootfs, SERVER, publish=(f"{port}:80",))
    plan = container.plan()
    container.check()
    print(f"A container in {rootfs}, in {len(plan)} steps. Each is a function of scratchlab.stages.\n")
    with Sandbox("tour", keeper=LocalKeeper()) as box:
        for number, item in enumerate(plan, 1):
            _show_step(box, number, item)
        _look_around(box, container)
        print(f"The CPU limit, under load:\n{_indented(str(box.prove(cgroups.cpu)))}\n")
        _fetch(box, container, port)
    print("Everything is taken back: processes, control groups, links, rules, mounts.")
    print(f"The same in one command:\n  scratchlab run --publish {port}:80 {rootfs} {' '.join(SERVER)}")


def _show_step(box: Sandbox, number: int, item: Step) -> None:
    carried = about(item.stage)
    print(f"{number:2}. {(item.stage.__doc__ or '').splitlines()[0]}")
    print(f"    {carried.side}, as in the shell: {carried.shell}")
    print(_indented(repr(box.apply(item.stage, *item.args, **item.kwargs)), 4), end="\n\n")


def _look_around(box: Sandbox, container: Container) -> None:
    for command in (("hostname",), ("ps", "-e"), ("ls", "/"), ("cat", "/proc/self/cgroup")):
        finished = box.run(*command, env=container.environment(), inherit=False, cwd="/")
        print(f"inside$ {' '.join(command)}\n{_indented(repr(finished))}\n")


def _fetch(box: Sandbox, container: Container, port: int) -> None:
    print(f"inside$ {' '.join(SERVER)} &")
    with _running(box, container):
        address = f"http://127.0.0.1:{port}/os-release"
        print(f"host$ curl {address}\n{_indented(_get(address))}\n")


@contextmanager
def _running(box: Sandbox, container: Container) -> Iterator[None]:
    """The server, in the background; it ends with the sandbox."""
    sh = ("sh", "-c", " ".join(SERVER) + " >/dev/null 2>&1 &")
    box.run(*sh, env=container.environment(), inherit=False, cwd="/")
    yield


def _get(address: str, patience: float = 20.0) -> str:
    """Fetch, as soon as the server listens: with a fifth of one CPU, Python takes a second to start."""
    deadline = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _free_port() -> int:
    """8080, or a port that nobody has."""
    for port in (8080, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            free: int = probe.getsockname()[1]
            return free
    return 8080


def _indented(text: str, by: int = 2) -> str:
    return "\n".join(" " * by + line for line in text.splitlines())
