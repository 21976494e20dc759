"""What each command of the command line does, once its arguments are parsed."""

import argparse
import os
import signal
import sys
import time
from contextlib import suppress
from typing import Any

from scratchlab import journal
from scratchlab.errors import HostError, InputError

# Each command imports what it needs itself: `scratchlab ps` should not wait for the network code.


def run(arguments: argparse.Namespace) -> int:
    """Run a command in a container, on our terminal or files. Gives its exit status."""
    from scratchlab.container import Container

    if not arguments.command:
        raise InputError("no command given", f"scratchlab run {arguments.rootfs} /bin/sh")
    container = Container(
        rootfs=arguments.rootfs,
        command=tuple(arguments.command),
        name=arguments.name,
        hostname=arguments.hostname,
        cpus=arguments.cpus,
        memory=arguments.memory,
        pids=arguments.pids,
        env=_environment(arguments.env),
        workdir=arguments.workdir,
        user=arguments.user,
        volumes=tuple(arguments.volume),
        network=arguments.network,
        publish=tuple(arguments.publish),
        read_only=arguments.read_only,
        chroot=arguments.chroot,
        left_out=frozenset(arguments.without),
    )
    if arguments.dry_run:
        print(*container.plan(), sep="\n")
        return 0
    return _run_attached(container)


def _run_attached(container: Any) -> int:
    from scratchlab.sandbox.attach import Signals, attach
    from scratchlab.sandbox.client import LocalKeeper

    _need_root("run a container", "scratchlab run")
    # From here on signals wait to be read: the set-up takes milliseconds, and must not be torn in two.
    signals = Signals()
    journal.clean()
    with container.started(LocalKeeper()) as box:
        if early := signals.ending():
            return 128 + early
        ending = attach(box, container.command, container.environment(), container.workdir or "/", signals)
        if why := container.why_killed(box, _name(ending)):
            print(f"scratchlab: {why}", file=sys.stderr)
    return _status(ending)


def _name(ending: dict[str, int]) -> str | None:
    return signal.Signals(ending["signal"]).name if "signal" in ending else None


def _status(ending: dict[str, int]) -> int:
    return ending["exit"] if "exit" in ending else 128 + ending["signal"]


def exec_(arguments: argparse.Namespace) -> int:
    """Run one more command in a container that runs, with no more rights than the container has."""
    from scratchlab.container import entered
    from scratchlab.sandbox.attach import Signals, attach
    from scratchlab.sandbox.client import LocalKeeper

    if not arguments.command:
        raise InputError("no command given", f"scratchlab exec {arguments.name} /bin/sh")
    _need_root("enter a container", "scratchlab exec")
    found = _running(arguments.name)
    signals = Signals()
    with entered(found, LocalKeeper()) as (box, environment):
        words, env = tuple(arguments.command), {**environment, **_environment(arguments.env)}
        return _status(attach(box, words, env, arguments.workdir or "/", signals))


def ps(_arguments: argparse.Namespace) -> int:
    """List what runs, one line each."""
    rows = [("NAME", "PID", "PORTS", "COMMAND")]
    for entries in journal.journals():
        facts = entries.facts
        if entries.alive:
            command = " ".join(facts.get("command") or ["(sandbox)"])
            rows.append((entries.name, str(facts.get("pid", "")), " ".join(facts.get("ports", [])), command))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for *columns, last in rows:
        print("  ".join([cell.ljust(width) for cell, width in zip(columns, widths, strict=True)] + [last]).rstrip())
    return 0


def stop(arguments: argparse.Namespace) -> int:
    """Ask a container's command to end, and kill its pid 1 if it does not."""
    if not 0 <= arguments.time < 1e9:
        raise InputError(f"--time {arguments.time:g}: not a time to wait", "give seconds, 0 or more")
    found = _running(arguments.name)
    init: int = found.facts["pid"]
    for pid in _children(init):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    if not _gone_within(arguments.time, found.name):
        with suppress(ProcessLookupError):
            os.kill(init, signal.SIGKILL)  # pid 1 of its namespace: the kernel kills all others with it
        _gone_within(5, found.name)
    return 0


def _gone_within(seconds: float, name: str) -> bool:
    """Whether its journal is closed in time: then the owner has taken everything back."""
    deadline = time.monotonic() + seconds
    while any(entries.name == name and entries.alive for entries in journal.journals()):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            return [int(word) for word in children.read().split()]
    except OSError:
        return []


def _running(name: str) -> journal.Entries:
    alive = {entries.name: entries for entries in journal.journals() if entries.alive and "command" in entries.facts}
    if name not in alive:
        names = ", ".join(alive) or "none"
        raise HostError(f"no container {name!r} runs (running: {names})", "see `scratchlab ps`")
    return alive[name]


def clean(_arguments: argparse.Namespace) -> int:
    """Take back what dead programs left, and say whose it was."""
    cleaned = journal.clean()
    print(*(f"cleaned {name}" for name in cleaned) if cleaned else ["nothing to clean"], sep="\n")
    return 0


def rootfs_create(arguments: argparse.Namespace) -> int:
    """Make a root filesystem, with progress on a terminal."""
    from scratchlab import rootfs

    source, *words = arguments.source
    if source == "busybox" and words:
        raise InputError(f"--from busybox takes no further words, not {' '.join(words)}", "busybox is one program with all names")
    if source == "debian" and len(words) > 1:
        raise InputError(f"--from debian takes one suite, not {' '.join(words)}", "for example: --from debian bookworm")
    programs, suite = (words, None) if source == "host" else ([], words[0] if words else None)
    made = rootfs.create(arguments.path, source, programs, suite, _progress() if sys.stderr.isatty() else None)
    print(f"{made}: {rootfs.describe(made)}")
    return 0


def _progress() -> Any:
    def show(what: str, fraction: float | None) -> None:
        done = "" if fraction is None else f"{fraction:4.0%} "
        print(f"\r\x1b[K{done}{what}"[:100], end="" if fraction is None or fraction < 1 else "\r\x1b[K", file=sys.stderr, flush=True)

    return show


def doctor(_arguments: argparse.Namespace) -> int:
    """Try what we need. Status 1 if something does not work."""
    from scratchlab.doctor import examine

    findings = examine()
    print(*findings, sep="\n")
    return 0 if all(finding.works for finding in findings) else 1


def tour(arguments: argparse.Namespace) -> int:
    """Build a container step by step, and show what each step changes."""
    from scratchlab.tour import show

    _need_root("build a container", "scratchlab tour")
    show(arguments.rootfs)
    return 0


def _environment(words: list[str]) -> dict[str, str]:
    """`NAME=VALUE` sets, `NAME` alone passes ours on. Raises InputError."""
    environment = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name:
            raise InputError(f"--env {word}: no name", "give NAME=VALUE, or NAME to pass on your own")
        if equals:
            environment[name] = value
        elif name in os.environ:
            environment[name] = os.environ[name]
    return environment


def _need_root(what: str, command: str) -> None:
    if os.geteuid() != 0:
        raise HostError(
            f"you are not root, and to {what} with limits and a network of its own needs root",
            f"sudo {command} …; without root, `scratchlab run --dry-run` shows the plan, and in Python "
            "Sandbox().apply(stages.unshare_user) and what follows from it work",
        )
