"""A snapshot as a flat table of facts, each with a name and a text: what `diff` compares, and what is shown.

The texts are the same in every run: no inode, pid, MAC address or interface number is in them. `exact` holds those, and decides
whether two facts of the same text are really the same.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from scratchlab.linux import Cap
from scratchlab.linux.proc import IdMap, Limit, MountPoint
from scratchlab.observe.snapshot import Snapshot


class Fact(NamedTuple):
    """One thing that is so. `item` is "" where there is only one of the kind."""

    item: str
    text: str
    exact: str = ""  # what else must be equal
    aside: str = ""  # a property that is shown only when it changes


class Kind(NamedTuple):
    """A kind of fact: its name, the field it comes from, and the namespace that it belongs to."""

    what: str
    field: str
    namespace: str  # "" for what belongs to the process itself
    of: Callable[[Snapshot], Iterable[Fact]]


def facts(kind: Kind, snapshot: Snapshot) -> dict[tuple[str, int], Fact]:
    """The facts of a kind in the kernel's order. Two of one name (a mount over a mount) are numbered."""
    found: dict[tuple[str, int], Fact] = {}
    for fact in kind.of(snapshot):
        number = sum(1 for item, _ in found if item == fact.item)
        found[fact.item, number] = fact
    return found


def without_numbers(target: str) -> str:
    """`pipe:[8123]` as `pipe`: what the kernel numbers anew in each run is left out."""
    return re.sub(r":?\[\d+\]", "", target)


# -- machine, files ---------------------------------------------------------------------------------------------------


def _one(field: str) -> Callable[[Snapshot], Iterable[Fact]]:
    return lambda snapshot: [Fact("", str(getattr(snapshot, field)))]


def _root(snapshot: Snapshot) -> Iterator[Fact]:
    yield Fact("", snapshot.root, exact=snapshot.root_inode)


def _mounts(snapshot: Snapshot) -> Iterator[Fact]:
    for mount in snapshot.mounts:
        text = "  ".join(word for word in (attached(mount), unusual_options(mount)) if word)
        # Not the mount's number: unshare(CLONE_NEWNS) copies all mounts, and numbers them anew.
        exact = f"{mount.device} {mount.root} {mount.source}"
        yield Fact(mount.target, text, exact, aside=" ".join(word.partition(":")[0] for word in mount.propagation.split()))


def attached(mount: MountPoint) -> str:
    """The filesystem, and for a bind mount, which part of it."""
    return mount.fstype if mount.root == "/" else f"{mount.fstype} {without_numbers(mount.root)}"


def unusual_options(mount: MountPoint) -> str:
    """What is out of the ordinary. A filesystem that is read-only makes all its mounts so."""
    options = [option for option in mount.options.split(",") if option not in ("rw", "ro", "relatime")]
    read_only = "ro" in mount.options.split(",") + mount.super_options.split(",")
    return ",".join(["ro"] * read_only + options)


def _files(snapshot: Snapshot) -> Iterator[Fact]:
    for file in snapshot.files:
        yield Fact(str(file.fd), without_numbers(file.target))


# -- network ----------------------------------------------------------------------------------------------------------


def _links(snapshot: Snapshot) -> Iterator[Fact]:
    for link in snapshot.links:
        words = [link.kind, "up" if link.up else "down", f"mtu {link.mtu}", f"port of {link.master}" if link.master else ""]
        yield Fact(link.name, " ".join(word for word in words if word), exact=f"{link.index} {link.address}")


# The kernel makes these by itself a moment after a link comes up, and from its random MAC address.
LINK_LOCAL = ("fe80:", "ff00:")


def _addresses(snapshot: Snapshot) -> Iterator[Fact]:
    for address in snapshot.addresses:
        if not address.address.startswith(LINK_LOCAL):
            yield Fact(address.address, address.link)


def _routes(snapshot: Snapshot) -> Iterator[Fact]:
    for route in snapshot.routes:
        if not route.destination.startswith(LINK_LOCAL):
            # All of it is the name: a destination may have several routes, in IPv4 and IPv6.
            via = f" via {route.gateway}" if route.gateway else ""
            yield Fact(f"{route.destination}{via} on {route.link}", "")


def _nft_rules(snapshot: Snapshot) -> Iterator[Fact]:
    """Each line of a chain is a fact, and so is the table. What else is in it, such as our random mark, is not."""
    for table, text in snapshot.nft_tables.items():
        yield Fact(table, "")
        chain = ""
        for line in (line.strip() for line in text.splitlines()):
            if line.startswith(("chain ", "set ", "map ")):
                chain = line.split()[1]
            elif line == "}":
                chain = ""
            elif line and chain:
                yield Fact(f"{table.split()[-1]} {chain}: {line}", "")


# -- limits -----------------------------------------------------------------------------------------------------------


def _cgroups(snapshot: Snapshot) -> Iterator[Fact]:
    for controllers, path in snapshot.cgroups.items():
        # Where the host had put the process before us is the host's affair, and may be called anything.
        yield Fact(controllers, path if "/scratchlab" in path else "the host's", exact=path)


# Knobs. All else in a control group moves on its own: memory.current, pids.current, cpu.stat.
_KNOBS = (".max", ".high", ".low", ".min", ".weight", ".cpus", ".mems", ".freeze")


def _limits(snapshot: Snapshot) -> Iterator[Fact]:
    for name, value in snapshot.cgroup_values.items():
        if name.endswith(_KNOBS):
            yield Fact(name, value)


def _rlimits(snapshot: Snapshot) -> Iterator[Fact]:
    for name, limit in snapshot.rlimits.items():
        yield Fact(name, rlimit(limit))


def rlimit(limit: Limit) -> str:
    """One resource limit; its two numbers only where they differ."""
    return limit.soft if limit.soft == limit.hard else f"soft {limit.soft}, hard {limit.hard}"


# -- privileges -------------------------------------------------------------------------------------------------------


def _ids(field: str) -> Callable[[Snapshot], Iterable[Fact]]:
    def of(snapshot: Snapshot) -> Iterator[Fact]:
        ids = getattr(snapshot, field)
        named = zip(("real", "effective", "saved", "filesystem"), ids, strict=False)
        yield Fact("", str(ids[0]) if len(set(ids)) == 1 else ", ".join(f"{name} {number}" for name, number in named))

    return of


def _groups(snapshot: Snapshot) -> Iterator[Fact]:
    yield Fact("", ", ".join(map(str, snapshot.groups)) or "none")


def _id_map(field: str) -> Callable[[Snapshot], Iterable[Fact]]:
    return lambda snapshot: [Fact("", ", ".join(map(id_range, getattr(snapshot, field))) or "none")]


def id_range(map: IdMap) -> str:
    """One line of an id map, in words."""
    if map == (0, 0, 2**32 - 1):
        return "every id is itself"
    if map.length == 1:
        return f"{map.inside} is {map.outside} outside"
    return f"{map.inside}-{map.inside + map.length - 1} is {map.outside}-{map.outside + map.length - 1} outside"


def _capabilities(snapshot: Snapshot) -> Iterator[Fact]:
    for name, held in snapshot.capabilities.items():
        yield Fact(name, capability_list(held))


def capability_list(held: Iterable[str]) -> str:
    """Some capabilities by name, or all but a few by the names of those."""
    every = [cap.name for cap in Cap]
    names = list(held)
    lacking = [name for name in every if name not in names]
    if not names:
        return "none"
    if len(lacking) < 5:
        return f"all but {', '.join(lacking)}" if lacking else "all"
    return ", ".join(names)


def _seccomp(snapshot: Snapshot) -> Iterator[Fact]:
    count = snapshot.seccomp_filters
    yield Fact("", f"{count} filters" if count > 1 else snapshot.seccomp)


def _label(snapshot: Snapshot) -> Iterator[Fact]:
    yield Fact("", snapshot.label or "none")


def _no_new_privs(snapshot: Snapshot) -> Iterator[Fact]:
    yield Fact("", "on" if snapshot.no_new_privs else "off")


# -- the table, in the order in which changes are shown ---------------------------------------------------------------

KINDS: tuple[Kind, ...] = (
    Kind("hostname", "hostname", "uts", _one("hostname")),
    Kind("domain name", "domainname", "uts", _one("domainname")),
    Kind("root directory", "root", "", _root),
    Kind("working directory", "cwd", "", _one("cwd")),
    Kind("mounts", "mounts", "mnt", _mounts),
    Kind("links", "links", "net", _links),
    Kind("addresses", "addresses", "net", _addresses),
    Kind("routes", "routes", "net", _routes),
    Kind("nft rules", "nft_tables", "net", _nft_rules),
    Kind("control groups", "cgroups", "", _cgroups),
    Kind("limits", "cgroup_values", "", _limits),
    Kind("resource limits", "rlimits", "", _rlimits),
    Kind("oom_score_adj", "oom_score_adj", "", _one("oom_score_adj")),
    Kind("user", "uids", "", _ids("uids")),
    Kind("group", "gids", "", _ids("gids")),
    Kind("more groups", "groups", "", _groups),
    Kind("uid map", "uid_map", "user", _id_map("uid_map")),
    Kind("gid map", "gid_map", "user", _id_map("gid_map")),
    Kind("capabilities", "capabilities", "", _capabilities),
    Kind("no_new_privs", "no_new_privs", "", _no_new_privs),
    Kind("seccomp", "seccomp", "", _seccomp),
    Kind("security label", "label", "", _label),
    Kind("open files", "files", "", _files),
)
