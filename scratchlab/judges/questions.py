"""What the judges are asked. Each answer is a set: of powers, where fewer is better; of walls, where more is; or of holes."""

import re
from collections.abc import Callable
from typing import NamedTuple

from scratchlab.judges.evidence import Evidence, Host
from scratchlab.observe.reader import CAPABILITY_SETS
from scratchlab.peers import walls

FEWER, MORE, NONE = "same or fewer", "same or more", "none"

Find = Callable[[Evidence, Host], frozenset[str]]


def _is_listed(found: frozenset[str], item: str, _of: Evidence) -> bool:
    return item in found


class Question(NamedTuple):
    """One thing that is claimed of our default container."""

    topic: str
    what: str
    claim: str  # of ours, against what a peer has
    find: Find
    covers: Callable[[frozenset[str], str, Evidence], bool] = _is_listed  # whether ours has a wall that a peer has


# -- privileges -------------------------------------------------------------------------------------------------------


def _set(name: str) -> Find:
    return lambda evidence, _host: evidence.capabilities[name]


def bounding_by_capsh(text: str) -> frozenset[str]:
    """The bounding set in what `capsh --print` says, by our names.  capsh(1)"""
    found = re.search(r"^Bounding set =(.*)$", text, re.MULTILINE)
    return frozenset(word.strip().upper().removeprefix("CAP_") for word in found[1].split(",") if word) if found else frozenset()


def _switches(evidence: Evidence, _host: Host) -> frozenset[str]:
    return frozenset(["no_new_privs"] * evidence.no_new_privs + ["seccomp filter"] * bool(evidence.filters))


# -- files ------------------------------------------------------------------------------------------------------------


def _says_nothing(found: frozenset[str], path: str, of: Evidence) -> bool:
    """Masked, or with nothing to read below it."""
    return path in found or not any(f"{file}/".startswith(f"{path}/") for file in of.readable)


def _cannot_be_written(_found: frozenset[str], path: str, of: Evidence) -> bool:
    """Read-only itself, or in something that is: /sys/fs/cgroup in a read-only /sys."""
    above = [mount for mount in of.mounts if f"{path}/".startswith(f"{mount.target.rstrip('/')}/")]
    nearest = max(above, key=lambda mount: len(mount.target))
    return walls.is_read_only(nearest)


def _whatever_the_link(paths: frozenset[str], of: Evidence) -> frozenset[str]:
    """Each link of a network has files of its own in /proc/sys/net. How many links there are is no weakness."""
    links = "|".join(map(re.escape, of.links))
    return frozenset(re.sub(rf"/({links})/", "/LINK/", path) for path in paths)


# -- the host ---------------------------------------------------------------------------------------------------------


def _shared(evidence: Evidence, host: Host) -> frozenset[str]:
    kinds = (kind for kind in evidence.namespaces if not kind.endswith("_for_children"))
    return frozenset(kind for kind in kinds if evidence.namespaces[kind] == host.namespaces.get(kind))


def _hosts_processes(evidence: Evidence, host: Host) -> frozenset[str]:
    return evidence.strangers | _shared(evidence, host) & {"pid"}


def _hosts_mounts(evidence: Evidence, host: Host) -> frozenset[str]:
    # The root may be a disk of its own, mounted on the host too: it is the container's.
    return frozenset(m.target for m in evidence.mounts if m.target != "/" and (m.device, m.root) in host.mounts)


def _hosts_links(evidence: Evidence, host: Host) -> frozenset[str]:
    known = host.addresses - {"", "00:00:00:00:00:00"}  # every loopback's
    return frozenset(name for name, address in evidence.links.items() if address in known) | _shared(evidence, host) & {"net"}


def _nodes(evidence: Evidence, _host: Host) -> frozenset[str]:
    return frozenset(name for name, why in evidence.made.items() if not why)


QUESTIONS = (
    *(Question("capabilities", name, FEWER, _set(name)) for name in CAPABILITY_SETS),
    Question("capabilities", "bounding, by capsh", FEWER, lambda e, _: bounding_by_capsh(e.capsh)),
    Question("privileges", "switches set", MORE, _switches),
    Question("privileges", "system calls made", FEWER, lambda e, _: e.allowed),
    Question("files", "masked paths", MORE, lambda e, _: walls.masked(e.mounts), _says_nothing),
    Question("files", "read-only paths", MORE, lambda e, _: walls.read_only(e.mounts), _cannot_be_written),
    Question("files", "files of /proc that say something", FEWER, lambda e, _: _whatever_the_link(e.readable, e)),
    Question("files", "files of /proc and /sys to write", FEWER, lambda e, _: _whatever_the_link(e.writable, e)),
    Question("files", "devices that can be opened", FEWER, lambda e, _: e.devices),
    Question("files", "nodes made and opened", NONE, _nodes),
    Question("the host", "namespaces that are its", FEWER, _shared),
    Question("the host", "its processes", NONE, _hosts_processes),
    Question("the host", "its mounts", NONE, _hosts_mounts),
    Question("the host", "its network links", NONE, _hosts_links),
    Question("the host", "its abstract sockets", NONE, lambda e, _: e.sockets),
)  # fmt: skip
