"""Where each field of a snapshot is read, and what is said when it cannot be.

Nearly everything is in /proc/PID. Only what depends on who asks (the host name, the network) is read by going there: visit.py.
"""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from scratchlab.errors import SandboxError, ScratchlabError
from scratchlab.linux import NAMESPACES, Clone, cgroupfs, netlink, nftables, proc
from scratchlab.observe.visit import visit


class OpenFile(NamedTuple):
    """One file descriptor and what it leads to.  proc_pid_fd(5)"""

    fd: int
    target: str


class Process(NamedTuple):
    """A process being read.

    /proc/PID is held open, so that a later process with the same pid cannot take its place.
    """

    pid: int
    fd: int
    status: Mapping[str, str]

    def text(self, name: str) -> str:
        """One file of /proc/PID."""
        return _text(self.fd, name)

    def link(self, name: str) -> str:
        """One symbolic link of /proc/PID."""
        return os.readlink(name, dir_fd=self.fd)

    def numbers(self, field: str) -> tuple[int, ...]:
        """The numbers in a field of status."""
        return tuple(int(word) for word in self.status.get(field, "").split())


@contextmanager
def opened(pid: int) -> Iterator[Process]:
    """A process to read from. Raises SandboxError if there is none, or if it ends meanwhile."""
    try:
        fd = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _gone(pid) from None
    try:
        yield Process(pid, fd, proc.parse_status(_text(fd, "status")))
        # What could not be read may be missing because the process ended: then the rest is half a truth too.
        _text(fd, "stat")
    except ProcessLookupError:
        raise _gone(pid) from None
    finally:
        os.close(fd)


def _text(directory: int, name: str) -> str:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    with open(fd, "rb") as stream:
        return os.fsdecode(stream.read())


def _gone(pid: int) -> SandboxError:
    return SandboxError(f"there is no process {pid}", f"it has ended, or this /proc hides it (check: ls -d /proc/{pid})")


class Found(NamedTuple):
    """What was read, by field, and why the rest was not."""

    values: dict[str, Any]
    missing: dict[str, str]


def read(process: Process) -> Found:
    """All that can be read of a process."""
    found = Found({}, {})
    for fields, reader in READERS.items():
        _take(fields, partial(reader, process), found)
    _take_from_there(process, found)
    if process.status.get("State", "").startswith("Z"):
        found.missing.update(dict.fromkeys(found.missing, "the process has ended, and waits to be reaped (a zombie)"))
    return found


def _take(fields: str, reader: Callable[[], Any], found: Found) -> None:
    """Keep what `reader` gives for some fields, or the reason why it gives nothing."""
    names = fields.split()
    try:
        value = reader()
    except (OSError, ScratchlabError) as error:
        found.missing.update(dict.fromkeys(names, _reason(error)))
    else:
        found.values.update(zip(names, value if len(names) > 1 else (value,), strict=True))


def _reason(error: OSError | ScratchlabError) -> str:
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM):
        return "not permitted: another user's process, or one with more capabilities than the reader"
    return str(error)


# -- from /proc/PID ---------------------------------------------------------------------------------------------------


def _namespaces(process: Process) -> dict[str, int]:
    # Listed, not assumed: time came with Linux 5.6, and a kernel may be built without some.
    fd = os.open("ns", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=process.fd)
    try:
        return {kind: _inode(kind, fd) for kind in sorted(os.listdir(fd))}
    finally:
        os.close(fd)


def _inode(kind: str, directory: int) -> int:
    try:
        return proc.parse_namespace(os.readlink(kind, dir_fd=directory))
    except FileNotFoundError:
        # The link leads nowhere from unshare(CLONE_NEWPID) until the first child is born.  pid_namespaces(7)
        if kind == "pid_for_children":
            return 0
        raise


def _root(process: Process) -> tuple[str, str]:
    inode = os.stat("root", dir_fd=process.fd)
    return process.link("root"), f"{os.major(inode.st_dev)}:{os.minor(inode.st_dev)} {inode.st_ino}"


def _cgroups(process: Process) -> dict[str, str]:
    return {",".join(group.controllers) or "unified": group.path for group in proc.parse_cgroup(process.text("cgroup"))}


def _files(process: Process) -> tuple[OpenFile, ...]:
    fd = os.open("fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=process.fd)
    # In a look at ourselves, these two are there only for the looking.
    ours = (fd, process.fd) if process.pid == os.getpid() else ()
    try:
        numbers = sorted({int(name) for name in os.listdir(fd)}.difference(ours))
        return tuple(OpenFile(number, target) for number in numbers if (target := _leads_to(number, fd)))
    finally:
        os.close(fd)


def _leads_to(number: int, directory: int) -> str:
    try:
        return os.readlink(str(number), dir_fd=directory)
    except FileNotFoundError:
        return ""  # closed since the directory was listed


CAPABILITY_SETS = {
    "effective": "CapEff",
    "permitted": "CapPrm",
    "inheritable": "CapInh",
    "bounding": "CapBnd",
    "ambient": "CapAmb",
}
_MODES = {"0": "off", "1": "strict", "2": "filter"}


def _capabilities(process: Process) -> dict[str, tuple[str, ...]]:
    return {
        name: proc.parse_capabilities(process.status[field]) for name, field in CAPABILITY_SETS.items() if field in process.status
    }


def _label(process: Process) -> str:
    try:
        return process.text("attr/current").rstrip("\0\n")
    except FileNotFoundError:  # a kernel built without any security module
        return ""
    except OSError as error:
        if error.errno == errno.EINVAL:  # none of those that label processes is active
            return ""
        raise


READERS: dict[str, Callable[[Process], Any]] = {  # the fields that each gives; with several, in that order
    "command": lambda p: p.status.get("Name", ""),
    "nspid": lambda p: p.numbers("NSpid"),
    "threads": lambda p: int(p.status.get("Threads", "0")),
    "children": lambda p: tuple(proc.parse_children(p.text(f"task/{p.pid}/children"))),
    "namespaces": _namespaces,
    "root root_inode": _root,
    "cwd": lambda p: p.link("cwd"),
    "mounts": lambda p: tuple(proc.parse_mountinfo(p.text("mountinfo"))),
    "cgroups": _cgroups,
    "cgroup_values": lambda p: cgroupfs.limits_and_usage(p.pid),
    "uids": lambda p: p.numbers("Uid"),
    "gids": lambda p: p.numbers("Gid"),
    "groups": lambda p: p.numbers("Groups"),
    "uid_map": lambda p: tuple(proc.parse_id_map(p.text("uid_map"))),
    "gid_map": lambda p: tuple(proc.parse_id_map(p.text("gid_map"))),
    "capabilities": _capabilities,
    "no_new_privs": lambda p: p.status.get("NoNewPrivs") == "1",
    "seccomp": lambda p: _MODES.get(p.status.get("Seccomp", "0"), "unknown"),
    "seccomp_filters": lambda p: int(p.status.get("Seccomp_filters", "0")),  # since Linux 5.9
    "label": _label,
    "oom_score_adj": lambda p: int(p.text("oom_score_adj")),
    "files": _files,
    "rlimits": lambda p: proc.parse_limits(p.text("limits")),
}


# -- from inside its namespaces ---------------------------------------------------------------------------------------


def _domainname() -> str:
    with open("/proc/sys/kernel/domainname", errors="surrogateescape") as stream:
        return stream.read().rstrip("\n")


def _nft_tables() -> dict[str, str]:
    # A table is named with its family: "ip scratchlab-web".
    return {table: nftables.listed(table) for table in nftables.tables() if table.split()[-1].startswith("scratchlab-")}


# By kind of namespace: what the kernel answers according to the namespaces of the thread that asks.
THERE: dict[str, dict[str, Callable[[], Any]]] = {
    "uts": {"hostname": lambda: os.uname().nodename, "domainname": _domainname},
    "net": {
        "links": lambda: netlink.links(),
        "addresses": lambda: netlink.addresses(),
        "routes": lambda: netlink.routes(),
        "nft_tables": _nft_tables,
    },
}


def _take_from_there(process: Process, found: Found) -> None:
    """Go to those namespaces that are not ours, all in one visit; what we share with the process, we read where we are."""
    theirs = found.values.get("namespaces")
    if theirs is None:
        fields = [field for readers in THERE.values() for field in readers]
        found.missing.update(dict.fromkeys(fields, found.missing["namespaces"]))
        return
    away = [kind for kind in THERE if theirs.get(kind) != _own(kind)]
    _merge(_look([kind for kind in THERE if kind not in away]), found)
    if not away:
        return
    flags = Clone(0)
    for kind in away:
        flags |= NAMESPACES[kind]
    fields = [field for kind in away for field in THERE[kind]]
    try:
        _merge(visit(process.pid, flags, lambda: _look(away)), found)
    except OSError as error:
        found.missing.update(dict.fromkeys(fields, _reason(error)))


def _own(kind: str) -> int:
    return proc.parse_namespace(os.readlink(f"/proc/thread-self/ns/{kind}"))


def _look(kinds: list[str]) -> dict[str, Any]:
    found = Found({}, {})
    for kind in kinds:
        for field, reader in THERE[kind].items():
            _take(field, reader, found)
    return found._asdict()


def _merge(seen: dict[str, Any], found: Found) -> None:
    found.values.update(seen["values"])
    found.missing.update(seen["missing"])
