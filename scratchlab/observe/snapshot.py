"""What the kernel says about one process, as frozen data. Where each field is read: reader.py."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from scratchlab.errors import SandboxError
from scratchlab.linux.netlink import Address, Link, Route
from scratchlab.linux.proc import IdMap, Limit, MountPoint
from scratchlab.observe import reader
from scratchlab.observe.reader import OpenFile
from scratchlab.stages.arguments import check_fields


@dataclass(frozen=True, repr=False)
class Snapshot:
    """One process as the kernel sees it. What could not be read is empty, and `missing` says why, by field."""

    pid: int  # as the reader's /proc numbers it
    command: str = ""
    nspid: tuple[int, ...] = ()  # its pid in each pid namespace that it is in, from the reader's to its own
    threads: int = 0
    children: tuple[int, ...] = ()
    namespaces: dict[str, int] = field(default_factory=dict)  # kind -> inode, as in /proc/PID/ns; 0 for one that is empty yet
    hostname: str = ""
    domainname: str = ""
    root: str = ""
    root_inode: str = ""  # device and inode: after pivot_root, "/" is another directory than it was
    cwd: str = ""
    mounts: tuple[MountPoint, ...] = ()
    cgroups: dict[str, str] = field(default_factory=dict)  # controllers, or "unified" for version 2 -> path
    cgroup_values: dict[str, str] = field(default_factory=dict)  # limits and usage: cpu.max, memory.current …
    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    nft_tables: dict[str, str] = field(default_factory=dict)  # ours alone, scratchlab-*: name -> rules
    uids: tuple[int, ...] = ()  # real, effective, saved, filesystem
    gids: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    uid_map: tuple[IdMap, ...] = ()
    gid_map: tuple[IdMap, ...] = ()
    capabilities: dict[str, tuple[str, ...]] = field(default_factory=dict)  # effective, permitted, inheritable …
    no_new_privs: bool = False
    seccomp: str = ""  # "off", "strict" or "filter"
    seccomp_filters: int = 0
    label: str = ""  # what SELinux, AppArmor or Smack calls it; "" where none of them is active
    oom_score_adj: int = 0
    files: tuple[OpenFile, ...] = ()
    rlimits: dict[str, Limit] = field(default_factory=dict)  # by getrlimit(2)'s names
    missing: dict[str, str] = field(default_factory=dict)  # field -> why it could not be read

    @classmethod
    def of(cls, pid: int) -> "Snapshot":
        """Look at a process. Raises SandboxError if there is none.  proc(5)"""
        with reader.opened(pid) as process:
            found = reader.read(process)
        return from_data({"pid": pid, **found.values, "missing": found.missing})

    def __repr__(self) -> str:
        # Below, because text.py needs to know what a snapshot is.
        from scratchlab.observe.text import snapshot_text

        return snapshot_text(self)


# -- snapshots travel between processes as plain data -----------------------------------------------------------------


def to_data(snapshot: Snapshot) -> dict[str, Any]:
    """What JSON can carry of a snapshot, which is all of it."""
    return {each.name: getattr(snapshot, each.name) for each in fields(snapshot)}


def from_data(data: Mapping[str, Any]) -> Snapshot:
    """The snapshot that `to_data` took apart. JSON made lists of its tuples; a field that is not there is empty."""
    try:
        snapshot = Snapshot(**{name: _REBUILD.get(name, _same)(value) for name, value in data.items()})
    except (TypeError, ValueError, AttributeError) as error:
        raise SandboxError(f"what came back is no snapshot: {error}", "make a new Sandbox") from None
    check_fields(snapshot)
    return snapshot


def _same(value: Any) -> Any:
    return value


def _rows(row: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda values: tuple(row(*value) for value in values)


_REBUILD: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("nspid", "children", "uids", "gids", "groups"), tuple),
    "mounts": _rows(MountPoint), "links": _rows(Link), "addresses": _rows(Address), "routes": _rows(Route),
    "uid_map": _rows(IdMap), "gid_map": _rows(IdMap), "files": _rows(OpenFile),
    "capabilities": lambda sets: {name: tuple(names) for name, names in sets.items()},
    "rlimits": lambda limits: {name: Limit(*limit) for name, limit in limits.items()},
}  # fmt: skip
