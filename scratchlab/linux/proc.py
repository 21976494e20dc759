"""The kernel's text in /proc, read by pure functions on strings: no file is opened here, and no root is needed.

Text that is not what the manual page says raises InputError and shows the line. Where names can hold any byte, give text
that came through os.fsdecode, so that a name that is not UTF-8 survives the way here and back.
"""

import re
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from scratchlab.errors import InputError
from scratchlab.linux.flags import Cap

Row = TypeVar("Row")


def rows(text: str, page: str, read: Callable[[str], Row]) -> list[Row]:
    """What `read` makes of each line that is not empty; `page` says where the format is described."""
    # Not splitlines(): it also splits at form feeds and U+2028, which are ordinary bytes of a file name.
    return [row(line, page, read) for line in text.split("\n") if line]


def row(line: str, page: str, read: Callable[[str], Row]) -> Row:
    """What `read` makes of one line. Its ValueError becomes an InputError that shows the line."""
    try:
        return read(line)
    except ValueError:
        raise InputError(f"not a line of {page}: {line!r}") from None


# -- mounts -----------------------------------------------------------------------------------------------------------


class MountPoint(NamedTuple):
    """One mount: what is attached (fstype, source, root in it), where (target), and how (options)."""

    mount_id: int
    parent_id: int
    device: str  # "8:1", major and minor
    root: str  # the directory of the filesystem that is the root of this mount; not "/" for a bind mount
    target: str  # the manual calls it "mount point"
    options: str  # of this mount: "rw,nosuid"
    propagation: str  # "shared:1", "master:2", "shared:3 master:2", "unbindable", or "private" where the kernel says nothing
    fstype: str
    source: str
    super_options: str  # of the filesystem, the same for all its mounts


def parse_mountinfo(text: str) -> list[MountPoint]:
    """The mounts of a process, in the kernel's order.  proc_pid_mountinfo(5)"""
    return rows(text, "proc_pid_mountinfo(5)", _mount)


def _mount(line: str) -> MountPoint:
    where, _, what = line.partition(" - ")
    # split(" "), not split(): an empty source leaves two spaces side by side.
    mount_id, parent_id, device, root, target, options, *propagation = where.split(" ")
    fstype, source, super_options = what.split(" ", 2)
    return MountPoint(
        int(mount_id), int(parent_id), device, unescape(root), unescape(target), options,
        " ".join(propagation) or "private", fstype, unescape(source), unescape(super_options),
    )  # fmt: skip


def unescape(text: str) -> str:
    r"""Put back what the kernel wrote in octal: space \040, tab \011, newline \012, backslash \134.  fstab(5)"""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text) if "\\" in text else text


# -- who a process is -------------------------------------------------------------------------------------------------


def parse_status(text: str) -> dict[str, str]:
    """The fields of a process by name: Uid, NSpid, CapEff …  proc_pid_status(5)"""
    return dict(rows(text, "proc_pid_status(5)", _field))


def _field(line: str) -> tuple[str, str]:
    name, value = line.split(":", 1)
    return name, value.strip()


class Stat(NamedTuple):
    """The first fields of stat, and when the process started."""

    pid: int
    comm: str  # the program's name, cut to 15 bytes
    state: str  # R running, S sleeping, Z zombie …
    ppid: int
    pgrp: int
    session: int
    flags: int  # PF_KTHREAD, 0x200000, is a thread of the kernel's own
    num_threads: int
    starttime: int  # clock ticks since boot; with the pid, it tells a process from a later one with the same number


def parse_stat(text: str) -> Stat:
    """One process in one line.  proc_pid_stat(5)"""
    return row(text, "proc_pid_stat(5)", _stat)


def _stat(line: str) -> Stat:
    # comm is in brackets, and may hold brackets and spaces itself: the last ")" ends it.
    before, _, after = line.rpartition(")")
    pid, comm = before.split(" (", 1)
    state, ppid, pgrp, session, *more = after.split()
    if len(more) < 16:
        raise ValueError(line)
    # The manual counts from 1 and `state` is number 3; so more[0] is number 7.
    flags, num_threads, starttime = (int(more[number - 7]) for number in (9, 20, 22))
    return Stat(int(pid), comm, state, int(ppid), int(pgrp), int(session), flags, num_threads, starttime)


def parse_children(text: str) -> list[int]:
    """The pids of a thread's children.  proc_tid_children(5)"""
    return row(text, "proc_tid_children(5)", lambda line: [int(word) for word in line.split()])


class Limit(NamedTuple):
    """One resource limit, "unlimited" where there is none."""

    soft: str
    hard: str


# The kernel writes words here, and getrlimit(2) has other names for the same limits.
RLIMITS = {
    "Max cpu time": "RLIMIT_CPU", "Max file size": "RLIMIT_FSIZE", "Max data size": "RLIMIT_DATA",
    "Max stack size": "RLIMIT_STACK", "Max core file size": "RLIMIT_CORE", "Max resident set": "RLIMIT_RSS",
    "Max processes": "RLIMIT_NPROC", "Max open files": "RLIMIT_NOFILE", "Max locked memory": "RLIMIT_MEMLOCK",
    "Max address space": "RLIMIT_AS", "Max file locks": "RLIMIT_LOCKS", "Max pending signals": "RLIMIT_SIGPENDING",
    "Max msgqueue size": "RLIMIT_MSGQUEUE", "Max nice priority": "RLIMIT_NICE", "Max realtime priority": "RLIMIT_RTPRIO",
    "Max realtime timeout": "RLIMIT_RTTIME",
}  # fmt: skip


def parse_limits(text: str) -> dict[str, Limit]:
    """The resource limits, by getrlimit(2)'s names.  proc_pid_limits(5)"""
    heading, _, rest = text.partition("\n")
    if heading and not heading.startswith("Limit "):
        raise InputError(f"not the heading of proc_pid_limits(5): {heading!r}")
    return dict(rows(rest, "proc_pid_limits(5)", _limit))


def _limit(line: str) -> tuple[str, Limit]:
    # The names hold single spaces, and some limits have no unit: only the columns are sure.
    name = line[:26].strip()
    soft, hard, *_unit = line[26:].split()
    return RLIMITS.get(name, name), Limit(soft, hard)


# -- namespaces, ids and capabilities ---------------------------------------------------------------------------------


def parse_namespace(link: str) -> int:
    """The inode in "uts:[4026531838]", which is the namespace's identity.  namespaces(7)"""
    found = re.fullmatch(r"[a-z_]+:\[([0-9]{1,20})\]", link, re.ASCII)
    if not found:
        raise InputError(f"not a link of proc_pid_ns(5): {link!r}")
    return int(found[1])


class IdMap(NamedTuple):
    """`length` ids from `inside` on are the ids from `outside` on, as the reader's user namespace numbers them."""

    inside: int
    outside: int
    length: int


def parse_id_map(text: str) -> list[IdMap]:
    """uid_map or gid_map; empty until it is written.  user_namespaces(7)"""
    return rows(text, "user_namespaces(7)'s uid_map", _id_map)


def _id_map(line: str) -> IdMap:
    inside, outside, length = line.split()
    return IdMap(int(inside), int(outside), int(length))


def parse_capabilities(mask: str) -> tuple[str, ...]:
    """The names in a mask such as CapEff's, lowest bit first; a number for one we have no name for.  capabilities(7)"""
    bits = row(mask, "capabilities(7)'s masks", lambda line: int(line, 16))
    if bits < 0 or bits.bit_length() > 64:
        raise InputError(f"not a mask of 64 bits: {mask!r}")
    return tuple(_CAP_NAMES.get(bit, str(bit)) for bit in range(bits.bit_length()) if bits >> bit & 1)


_CAP_NAMES = {cap.value: cap.name for cap in Cap}


# -- control groups ---------------------------------------------------------------------------------------------------


class Membership(NamedTuple):
    """The control group of a process in one hierarchy. Version 2 is hierarchy 0 and has no controllers listed."""

    hierarchy: int
    controllers: tuple[str, ...]
    path: str  # as seen from the reader's cgroup namespace


def parse_cgroup(text: str) -> list[Membership]:
    """The control groups that a process is in.  cgroups(7), proc_pid_cgroup(5)"""
    return rows(text, "proc_pid_cgroup(5)", _membership)


def _membership(line: str) -> Membership:
    # At most two splits: a group's name may hold colons.
    hierarchy, controllers, path = line.split(":", 2)
    return Membership(int(hierarchy), tuple(controllers.split(",")) if controllers else (), path)
