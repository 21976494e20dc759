"""What each command of the command line does, once its arguments are parsed."""

import argparse
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from scratchlab import journal
from scratchlab.errors import GoneError, HostError, InputError, SandboxError

# Each command imports what it needs itself: `scratchlab ps` should not wait for the network code.


def run(arguments: argparse.Namespace) -> int:
    """Run a command in a container, on our terminal or files. Gives its exit status."""
    from scratchlab.container import Container

    container = Container(
        rootfs=arguments.rootfs,
        command=_command(arguments, f"scratchlab run {arguments.rootfs} /bin/sh"),
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
        cap_add=tuple(arguments.cap_add),
        cap_drop=tuple(arguments.cap_drop),
        security_opt=tuple(arguments.security_opt),
        chroot=arguments.chroot,
        left_out=frozenset(arguments.without),
        userns=arguments.userns,
    )
    if arguments.dry_run:
        print(*container.plan(), sep="\n")
        _print_notes(container.notes)
        return 0
    return _run_attached(container)


def _run_attached(container: Any) -> int:
    from scratchlab.sandbox.attach import Signals
    from scratchlab.sandbox.client import LocalKeeper

    # From here on signals wait to be read: the set-up takes milliseconds, and must not be torn in two.
    signals = Signals()
    _clean_before()
    with container.started(LocalKeeper()) as box:
        _print_notes(box.notes)
        if early := signals.ending():
            return 128 + early
        code = _attached(box, container.command, container.environment(), container.workdir, signals)
        if why := container.why_killed(box, code):
            print(f"scratchlab: {why}", file=sys.stderr)
    return code


def _print_notes(notes: Iterable[str]) -> None:
    """What this container lacks, since it was not asked for."""
    for note in notes:
        print(f"scratchlab: note: {note}", file=sys.stderr)


def _attached(box: Any, words: tuple[str, ...], env: dict[str, str], workdir: str | None, signals: Any) -> int:
    """Run a command on our terminal or files. Gives its exit status, or 128 + the number of the signal that ended it."""
    from scratchlab.sandbox.attach import attach

    try:
        ending = attach(box, words, env, workdir or "/", signals)
    except GoneError:  # somebody killed pid 1, which `scratchlab stop` does too: then the kernel kills all others
        ending = {"signal": signal.SIGKILL}
    return ending["exit"] if "exit" in ending else 128 + ending["signal"]


def _clean_before() -> None:
    """Take back what killed programs left. What cannot be taken back is a pity, and no reason not to run."""
    try:
        journal.clean()
    except SandboxError as error:
        print(f"scratchlab: {error}", file=sys.stderr)


def _command(arguments: argparse.Namespace, example: str) -> tuple[str, ...]:
    """The command's words. Raises InputError where there are none, or where the first is an option that came too late."""
    words: list[str] = arguments.command
    if words[:1] == ["--"]:
        words = words[1:]
    elif words and words[0].startswith("-"):
        raise InputError(f"{words[0]} stands where the command should", "options go before ROOTFS or NAME; `--` ends them")
    if not words or not words[0]:
        raise InputError("no command given", example)
    return tuple(words)


def exec_(arguments: argparse.Namespace) -> int:
    """Run one more command in a container that runs, with no more rights than the container has."""
    from scratchlab.container import entered
    from scratchlab.sandbox.attach import Signals
    from scratchlab.sandbox.client import LocalKeeper

    words = _command(arguments, f"scratchlab exec {arguments.name} /bin/sh")
    found = _running(arguments.name)
    signals = Signals()
    with entered(found, LocalKeeper()) as box:
        env = {**found.facts["env"], **_environment(arguments.env)}
        return _attached(box, words, env, arguments.workdir or found.facts["workdir"], signals)


def attack(arguments: argparse.Namespace) -> int:
    """Try every attack against the default container, perhaps without some stages. Status 1 if not all were stopped."""
    _need_root("attack a container", f"scratchlab {arguments.trial}")
    from scratchlab import trials

    container = trials.on_trial(arguments.rootfs, arguments.without)
    progress = _progress() if sys.stderr.isatty() else None
    careless = frozenset(arguments.without)
    act = trials.ablate if arguments.trial == "ablate" else trials.scoreboard
    found = act(container, progress=progress, careless=careless)
    print(json.dumps(found.to_data(), indent=2) if arguments.json else found)
    return 0 if found.held else 1


def ps(_arguments: argparse.Namespace) -> int:
    """List what runs, one line each."""
    rows = [("NAME", "PID", "PORTS", "COMMAND")]
    for entries in journal.journals():
        facts = entries.facts
        if entries.alive:
            ports = " ".join(_port(*port) for port in facts.get("ports", []))
            rows.append((entries.name, str(facts.get("init") or facts.get("pid", "")), ports, _purpose(facts)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for *columns, last in rows:
        print("  ".join([cell.ljust(width) for cell, width in zip(columns, widths, strict=True)] + [last]).rstrip())
    return 0


def _port(ip: str, host: int, container: int, protocol: str) -> str:
    """A published port, as it is typed: 8080:80, and the rest only where it is not the usual."""
    where = "" if ip == "0.0.0.0" else f"{ip}:"
    return f"{where}{host}:{container}" + ("" if protocol == "tcp" else f"/{protocol}")


def _purpose(facts: dict[str, Any]) -> str:
    if "enters" in facts:
        return f"(exec in {facts['enters']})"
    return shlex.join(facts["command"]) if "command" in facts else "(sandbox)"


def stop(arguments: argparse.Namespace) -> int:
    """Ask a container's command to end, and kill its pid 1 if it does not."""
    patience = _seconds(arguments.time)
    found = _running(arguments.name)
    init: int = found.facts["init"]
    for pid in _children(init):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    if not _gone_within(patience, found.name):
        with suppress(ProcessLookupError):
            os.kill(init, signal.SIGKILL)  # pid 1 of its namespace: the kernel kills all others with it
        _gone_within(5, found.name)
    return 0


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < 1e9:
        raise InputError(f"--time {text}: not a time to wait", "give seconds, 0 or more")
    return seconds


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
    alive = {entries.name: entries for entries in journal.journals() if entries.alive and "init" in entries.facts}
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
        end = "" if fraction is None or fraction < 1 else "\r\x1b[K"
        print(f"\r\x1b[K{done}{what}"[:100], end=end, file=sys.stderr, flush=True)

    return show


def compare(arguments: argparse.Namespace) -> int:
    """Print a process of any engine beside one in a default container of ours."""
    from scratchlab.peers import compare

    found = compare(arguments.pid, rootfs=arguments.rootfs)
    print(json.dumps(found.to_data(), indent=2) if arguments.json else found)
    return 0


def judge(arguments: argparse.Namespace) -> int:
    """Print what independent judges find in a default container. Status 1 if a claim does not hold."""
    _need_root("start the containers to be judged", "scratchlab judge")
    from scratchlab.judges import judge

    found = judge(arguments.rootfs, arguments.without)
    print(json.dumps(found.to_data(), indent=2) if arguments.json else found)
    return 0 if found.holds else 1


def doctor(arguments: argparse.Namespace) -> int:
    """Try what we need. Status 1 if something that is needed does not work; with --strict, if anything does not."""
    from scratchlab.doctor import examine

    report = examine()
    print(report.to_json() if arguments.json else report)
    return 0 if report.works and not (arguments.strict and report.missing(needed=False)) else 1


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
            f"you are not root, and to {what} with limits and a cable to the host takes root",
            f"sudo {command} …; without root, `scratchlab run` and a Sandbox() in Python begin with unshare_user",
        )
