"""The two sides of a comparison: a process that somebody names, and one in a container of ours."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from scratchlab.container import Container
from scratchlab.errors import HostError, InputError, SandboxError
from scratchlab.linux import proc
from scratchlab.observe import Snapshot
from scratchlab.peers.aspect import HIDDEN, Aspect
from scratchlab.peers.comparison import Comparison, Row
from scratchlab.peers.files import FILES, NETWORK
from scratchlab.peers.limits import LIMITS
from scratchlab.peers.orders import SAME, UNKNOWN
from scratchlab.peers.who import WHO
from scratchlab.sandbox import Sandbox
from scratchlab.sandbox.run import Conversation

ASPECTS = (*WHO, *LIMITS, *FILES, *NETWORK)
KERNEL_THREAD = 0x00200000  # PF_KTHREAD in the kernel's sched.h


def compare(pid: int, box: Sandbox | None = None, *, rootfs: str | os.PathLike[str] | None = None) -> Comparison:
    """A process of any container engine side by side with ours: each fact, and the stage that builds it.

    Ours is `box`, or a default container that is started for this moment, in `rootfs` or a small one made for it.
    Raises InputError for what is no such process, SandboxError if there is none, HostError if it is not ours to read.
    """
    theirs = look(pid)
    if box is not None:
        # The agent's own files: its commands do not get them.
        seen = replace(box.snapshot(), files=())
        return side_by_side(theirs, seen, f"sandbox {box.name}")
    with default_container(rootfs) as ours:
        return side_by_side(theirs, ours, "a default container")


def side_by_side(theirs: Snapshot, ours: Snapshot, name: str) -> Comparison:
    """Two snapshots as rows."""
    host = Snapshot.of(os.getpid())
    rows = tuple(_row(aspect, theirs, ours, host) for aspect in ASPECTS)
    return Comparison(f"{theirs.command} (pid {theirs.pid})", name, rows)


def _row(aspect: Aspect, theirs: Snapshot, ours: Snapshot, host: Snapshot) -> Row:
    values = [None if _unread(aspect, side) else aspect.read(side, host) for side in (theirs, ours)]
    texts = [_unread(aspect, side) or aspect.say(value) for side, value in zip((theirs, ours), values, strict=True)]
    if any(_unread(aspect, side) for side in (theirs, ours)):
        verdict = UNKNOWN
    else:
        verdict = SAME if values[0] == values[1] else aspect.order(*values)
    return Row(aspect.topic, aspect.what, texts[0], texts[1], aspect.stages, verdict, aspect.means)


def _unread(aspect: Aspect, side: Snapshot) -> str:
    """Why an aspect is not known of one side, or ''."""
    return "the kernel does not tell" if aspect.field == HIDDEN else side.missing.get(aspect.field, "")


# -- theirs -----------------------------------------------------------------------------------------------------------


def look(pid: int) -> Snapshot:
    """A process that can be compared. Raises an error that says why it cannot."""
    if isinstance(pid, bool) or not isinstance(pid, int) or pid < 1:
        raise InputError(f"{pid!r} is not the pid of a process", "give a number above 0, as `ps` shows it")
    if pid == os.getpid():
        raise InputError(f"process {pid} is this program itself", "give the pid of a container's process, as the host numbers it")
    seen = Snapshot.of(pid)
    stat = _stat(pid)
    if stat.flags & KERNEL_THREAD:
        raise InputError(f"process {pid} ({stat.comm}) is a thread of the kernel", "it runs no program, so nothing contains it")
    if stat.state == "Z":
        hint = f"its parent, process {stat.ppid}, has not asked yet how it ended"
        raise SandboxError(f"process {pid} ({stat.comm}) has ended and is a zombie: it has no namespaces any more", hint)
    if "namespaces" in seen.missing:
        why = seen.missing["namespaces"]
        raise HostError(f"process {pid} ({stat.comm}) cannot be read: {why}", f"use sudo, or ask as user {seen.uids[0]}")
    return seen


def _stat(pid: int) -> proc.Stat:
    try:
        return proc.parse_stat(os.fsdecode(Path(f"/proc/{pid}/stat").read_bytes()).strip())
    except (FileNotFoundError, ProcessLookupError):
        raise SandboxError(f"process {pid} has ended while it was looked at", "compare one that stays") from None


# -- ours -------------------------------------------------------------------------------------------------------------


@contextmanager
def default_container(rootfs: str | os.PathLike[str] | None = None) -> Iterator[Snapshot]:
    """A command in a container with nothing but defaults, as it is seen from outside."""
    with tempfile.TemporaryDirectory(prefix="scratchlab-compare-") as place:
        if rootfs is None:
            from scratchlab.rootfs import create

            rootfs = create(Path(place, "rootfs"), "busybox")
        container = Container(os.fspath(rootfs), ("cat",))
        with container.started() as box, waiting(box, container) as pid:
            yield Snapshot.of(pid)


@contextmanager
def waiting(box: Sandbox, container: Container) -> Iterator[int]:
    """The container's command, which waits for its input meanwhile; by its pid on the host."""
    request = {"do": "run", "argv": list(container.command), "env": container.environment(), "cwd": "/"}
    talk = Conversation(b"", (None, None))
    try:
        try:
            inside = box.ask(request, talk.theirs).body["ok"]["pid"]
        finally:
            talk.close(talk.theirs)
        yield _outside(box.pid, inside)
    finally:
        talk.close()


def _outside(parent: int, inside: int) -> int:
    """How the host numbers a child that its own pid namespace calls `inside`.  pid_namespaces(7)"""
    children = proc.parse_children(Path(f"/proc/{parent}/task/{parent}/children").read_text())
    statuses = {pid: proc.parse_status(Path(f"/proc/{pid}/status").read_text()) for pid in children}
    return next(pid for pid, status in statuses.items() if int(status["NSpid"].split()[-1]) == inside)
