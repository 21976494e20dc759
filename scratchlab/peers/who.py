"""Who a process is, and what it may do: namespaces, ids, capabilities, and the switches that only go one way."""

from collections.abc import Iterable, Iterator
from functools import partial

from scratchlab.linux import NAMESPACES
from scratchlab.linux.proc import IdMap
from scratchlab.observe import Snapshot
from scratchlab.observe.facts import capability_list, id_range
from scratchlab.peers import orders
from scratchlab.peers.aspect import HIDDEN, Aspect, Read, plain

# -- namespaces -------------------------------------------------------------------------------------------------------

SHARED = {  # by kind: the stage that gives an own one, and what who shares the host's can do
    "cgroup": ("unshare_cgroup", "sees the host's groups"),
    "ipc": ("unshare_ipc", "sees the host's shared memory"),
    "net": ("unshare_net", "uses the host's network"),
    "mnt": ("unshare_mount", "mounts for the host"),
    "pid": ("unshare_pid", "sees the host's processes"),
    "time": ("unshare_time", "sees the host's uptime"),
    "user": ("unshare_user", "is the host's root"),
    "uts": ("unshare_uts", "can rename the host"),
}


def _namespaces() -> Iterator[Aspect]:
    for kind in NAMESPACES:
        stage, means = SHARED[kind]
        yield Aspect("namespaces", kind, "namespaces", (stage,), orders.having_it, _apart(kind), _own, means)
    yield Aspect("namespaces", "pid inside", "nspid", ("unshare_pid",), orders.neither, lambda p, _: p.nspid[-1])
    yield Aspect("namespaces", "hostname", "hostname", ("hostname",), orders.neither, plain("hostname"))


def _apart(kind: str) -> Read:
    return lambda process, host: process.namespaces.get(kind) != host.namespaces.get(kind)


def _own(apart: bool) -> str:
    return "own" if apart else "the host's"


# -- ids --------------------------------------------------------------------------------------------------------------


identity = partial(Aspect, "ids")


def _ids() -> Iterator[Aspect]:
    for name in ("uid", "gid"):
        field, ranges = f"{name}s", f"{name}_map"
        yield identity(f"{name} inside", field, ("user",), orders.not_root, _inside(field, ranges), _number, "is root inside")
        yield identity(f"{name} outside", field, ("user", "map_ids"), orders.not_root, _outside(field), str, "is root outside")
        yield identity(f"{name} map", ranges, ("map_ids",), orders.neither, plain(ranges), _ranges)
    yield identity("more groups", "groups", ("user",), orders.fewer, _groups, _numbers, "is in more groups")


def _outside(field: str) -> Read:
    return lambda process, _host: getattr(process, field)[1]  # the effective one


def _inside(field: str, ranges: str) -> Read:
    def read(process: Snapshot, _host: Snapshot) -> int | None:
        identity, maps = getattr(process, field)[1], getattr(process, ranges)
        found = (m.inside + identity - m.outside for m in maps if m.outside <= identity < m.outside + m.length)
        return next(found, None)  # its user namespace may have no number for it

    return read


def _groups(process: Snapshot, _host: Snapshot) -> frozenset[int]:
    return frozenset(process.groups)


def _number(identity: int | None) -> str:
    return "not mapped" if identity is None else str(identity)


def _numbers(identities: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(identities))) or "none"


def _ranges(maps: Iterable[IdMap]) -> str:
    return ", ".join(map(id_range, maps)) or "none"


# -- capabilities, and what cannot be taken back ----------------------------------------------------------------------

SETS = ("effective", "permitted", "inheritable", "bounding", "ambient")


def _capabilities() -> Iterator[Aspect]:
    for name in SETS:
        stages = ("capabilities", "ambient") if name == "ambient" else ("capabilities",)
        yield Aspect("capabilities", name, "capabilities", stages, orders.fewer, _held(name), _names, "has more of root's power")


def _held(name: str) -> Read:
    return lambda process, _host: frozenset(process.capabilities.get(name, ()))


def _names(held: frozenset[str]) -> str:
    return capability_list(sorted(held))


def _on(switch: bool) -> str:
    return "on" if switch else "off"


def _none_if_empty(text: str) -> str:
    return text or "none"


privilege = partial(Aspect, "privileges")

PRIVILEGES = (
    privilege(
        "no_new_privs", "no_new_privs", ("no_new_privs",), orders.having_it, plain("no_new_privs"), _on, "gains by setuid files"
    ),
    privilege("seccomp", "seccomp", ("seccomp",), orders.stricter_mode, plain("seccomp"), str, "may make any system call"),
    privilege("seccomp filters", "seccomp_filters", ("seccomp",), orders.neither, plain("seccomp_filters")),
    privilege("LSM label", "label", ("selinux_label", "apparmor_profile"), orders.neither, plain("label"), _none_if_empty),
    privilege("landlock", HIDDEN, ("landlock",), orders.neither, plain("pid")),
)

WHO = (*_namespaces(), *_ids(), *_capabilities(), *PRIVILEGES)
