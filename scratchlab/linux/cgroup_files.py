"""The files of one control group: read, written, and the causes where the kernel refuses.  cgroups(7)"""

import os
from collections.abc import Callable, Iterable

from scratchlab.errors import KernelError
from scratchlab.linux.ledger import record
from scratchlab.linux.posix import write_file


def write(path: str, knob: str, value: str) -> None:
    """Write one file of a group, by its own name. The error says what keeps the kernel from it."""
    try:
        write_file(f"{path}/{knob}", value)
    except KernelError as error:
        raise explained(error, path, knob, value) from None


def read(path: str, knob: str) -> str:
    """Read one file of a group, by its own name."""

    def act() -> str:
        with open(f"{path}/{knob}") as file:
            return file.read().strip()

    return record("read", {"file": f"{path}/{knob}"}, act)


def peek(path: str, knob: str) -> str:
    """What a file says, or '' where there is none. A look is no step: not in the ledger."""
    try:
        with open(f"{path}/{knob}") as file:
            return file.read().strip()
    except OSError:
        return ""


def explained(error: KernelError, path: str, knob: str, value: str = "") -> KernelError:
    """The same error with its cause, as far as the group's own files tell it."""
    symbol = KernelError.symbol(error.errno or 0)
    # Where the file itself is missing, nobody has read what was written.
    known = knob if os.path.exists(f"{path}/{knob}") else "*"
    find = _CAUSES.get((known, symbol)) or _CAUSES.get(("*", symbol))
    return KernelError(error.call, error.arguments, error.errno or 0, find(path, value) if find else None)


def named(pids: Iterable[int | str]) -> str:
    """Processes for people: `412 (sleep), 413 (sh)`."""
    return ", ".join(f"{pid} ({peek(f'/proc/{pid}', 'comm')})" for pid in pids) or "none that can be seen from here"


_CAUSES: dict[tuple[str, str], Callable[[str, str], str]] = {
    ("cgroup.procs", "EBUSY"): lambda path, _: (
        f"{path} hands controllers down to groups below it, so it can hold no process itself "
        f"(check: cat {path}/cgroup.subtree_control)"
    ),
    ("cgroup.procs", "ESRCH"): lambda _, pid: f"there is no process {pid} any more",
    ("cgroup.procs", "EINVAL"): lambda _, pid: f"{pid!r} is not the number of a process",
    ("cgroup.subtree_control", "EBUSY"): lambda path, _: (
        "a group with processes in it cannot hand controllers down, and these are in "
        f"{path}: {named(peek(path, 'cgroup.procs').split())}; move them into a group of their own first"
    ),
    ("cgroup.subtree_control", "ENOENT"): lambda path, controller: (
        f"the group above does not hand {controller[1:]} down to {path} (check: cat {path}/cgroup.controllers)"
    ),
    ("memory.limit_in_bytes", "EBUSY"): lambda path, size: (
        f"the group uses {peek(path, 'memory.usage_in_bytes')} bytes already, and the kernel cannot take back enough for {size}"
    ),
    ("io.max", "ENODEV"): lambda _, value: f"{value.split()[0]} is not a whole disk (check: lsblk)",
    ("*", "ENODEV"): lambda path, _: f"the group {path} was removed in between",
    ("*", "ENOENT"): lambda path, _: (
        f"the group {path} is gone" if not os.path.isdir(path) else f"this kernel has no such file (check: ls {path})"
    ),
    ("*", "EACCES"): lambda _, __: (
        "control groups belong to root here: use sudo, or have a subtree delegated to you (cgroups(7))"
    ),
    ("*", "EROFS"): lambda path, _: f"control groups are mounted read-only here (check: findmnt -T {path})",
}
