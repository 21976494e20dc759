"""What can be looked at: a sandbox, a process by its pid, or a snapshot that was taken before."""

import os
from collections.abc import Iterable
from typing import NamedTuple

from scratchlab.errors import SandboxError
from scratchlab.observe import Snapshot
from scratchlab.sandbox import Sandbox

Subject = Sandbox | int | Snapshot


class Seen(NamedTuple):
    """A snapshot with the name that it has in a picture."""

    name: str
    snapshot: Snapshot


def host() -> Seen:
    """This program: it is never isolated, so it stands for the host."""
    return Seen("host", Snapshot.of(os.getpid()))


def living(box: Sandbox) -> int:
    """The pid of a sandbox. Raises SandboxError if it is gone: its number may be somebody else's by now."""
    if box.closed or not os.path.exists(f"/proc/{box.pid}"):
        raise gone(box)
    return box.pid


def gone(box: Sandbox) -> SandboxError:
    """The error for a sandbox that was closed, or died."""
    return SandboxError(f"the sandbox {box.name!r} is gone", "make a new one: Sandbox()")


def looked_at(subject: Subject) -> Seen:
    """Look at a subject now. Raises SandboxError if it is gone."""
    if isinstance(subject, Sandbox):
        return Seen(subject.name, subject.snapshot())
    snapshot = subject if isinstance(subject, Snapshot) else Snapshot.of(subject)
    return Seen(snapshot.command, snapshot)


def by_name(seen: Iterable[Seen]) -> dict[str, Snapshot]:
    """Snapshots by name; of two with one name, the second gets a number."""
    named: dict[str, Snapshot] = {}
    for name, snapshot in seen:
        number = 1 + sum(1 for other in named if other == name or other.startswith(f"{name} "))
        named[name if number == 1 else f"{name} {number}"] = snapshot
    return named
