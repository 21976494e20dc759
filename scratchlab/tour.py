"""The tour: a container built step by step in front of you, each step with what it changed, then used and taken down."""

import socket
import textwrap
import time

from scratchlab.container import Container
from scratchlab.linux.ledger import Call
from scratchlab.observe import Changes
from scratchlab.sandbox.client import LocalKeeper
from scratchlab.sandbox.sandbox import Sandbox
from scratchlab.stages import Step, about, cgroups

WIDTH = 116
CALLS = 8  # so many system calls of a step are shown

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
        print(f"Under load, {box.prove(cgroups.cpu)}\n")
        _fetch(box, container, port)
    print("Everything is taken back: processes, control groups, links, rules, mounts.")
    print(f"The same in one command:\n  scratchlab run --publish {port}:80 {rootfs} {' '.join(SERVER)}")


def _show_step(box: Sandbox, number: int, item: Step) -> None:
    carried = about(item.stage)
    print(f"{number:2}. {(item.stage.__doc__ or '').splitlines()[0]}")
    print(f"    {carried.side}: {item}")
    print(_folded(f"in the shell: {carried.shell}", 4))
    applied = box.apply(item.stage, *item.args, **item.kwargs)
    if applied.changes:
        print(_indented(repr(Changes(applied.changes)), 6))
    for call in applied.calls[:CALLS]:
        print(_indented(_in_a_line(call), 6))
    if len(applied.calls) > CALLS:
        print(f"      … and {len(applied.calls) - CALLS} more system calls")
    print()


def _in_a_line(call: Call) -> str:
    """A system call as the ledger has it, but for the many lines that nft gets, which stand among the changes."""
    text = str(call).partition("\\n")[0]
    return text if text == str(call) and len(text) < WIDTH - 6 else f"{text[: WIDTH - 9]} …"


def _look_around(box: Sandbox, container: Container) -> None:
    for command in (("hostname",), ("ps", "-e"), ("ls", "-C", "/"), ("cat", "/proc/self/cgroup")):
        finished = box.run(*command, env=container.environment(), inherit=False, cwd="/")
        print(f"inside$ {' '.join(command)}\n{_indented(repr(finished))}\n")


def _fetch(box: Sandbox, container: Container, port: int) -> None:
    print(f"inside$ {' '.join(SERVER)} &")
    # It ends with the sandbox.
    box.run("sh", "-c", f"{' '.join(SERVER)} >/dev/null 2>&1 &", env=container.environment(), inherit=False, cwd="/")
    print(f"host$ curl http://127.0.0.1:{port}/os-release\n{_indented(_get(port, '/os-release'))}\n")


def _get(port: int, path: str, patience: float = 20.0) -> str:
    """Fetch, as soon as the server listens: with a fifth of one CPU, Python takes a second to start."""
    deadline = time.monotonic() + patience
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
            continue
        return answer.decode().partition("\r\n\r\n")[2]


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


def _folded(text: str, by: int) -> str:
    """A long line as several, each a little further in."""
    return _indented(textwrap.fill(text, WIDTH - by, subsequent_indent="    ", break_on_hyphens=False), by)


def _indented(text: str, by: int = 2) -> str:
    return "\n".join(" " * by + line for line in text.splitlines())
