"""Where this machine mounts its control groups: one tree, a tree for each controller, or both.  cgroups(7)"""

import os
from functools import lru_cache
from typing import NamedTuple

from scratchlab.errors import HostError
from scratchlab.linux.proc import Membership, MountPoint, parse_cgroup, parse_mountinfo


class Hierarchy(NamedTuple):
    """One tree of groups: what it controls, and where it is mounted."""

    version: int
    mount: str
    root: str  # the group that is seen at the mount point; not "/" in a container
    controllers: frozenset[str]  # by version 2's names: "io", where version 1 says "blkio"
    delegated: str = ""  # for an ordinary user, the group that it may divide, if any

    @property
    def home(self) -> str:
        """The group below which ours are: the root of the tree, or what is delegated to this user."""
        return self.delegated or self.mount


class Layout(NamedTuple):
    """All trees of groups on this machine."""

    hierarchies: tuple[Hierarchy, ...]

    def of(self, controller: str) -> Hierarchy:
        """The tree that has a controller. Raises HostError if none has."""
        for hierarchy in self.hierarchies:
            if controller in hierarchy.controllers:
                return hierarchy
        if not self.hierarchies:
            raise HostError("no control groups are mounted here", "check: findmnt -t cgroup,cgroup2")
        looked = ", ".join(hierarchy.mount for hierarchy in self.hierarchies)
        raise HostError(
            f"no hierarchy of control groups here has the {controller} controller (looked at: {looked})",
            "check: cat /proc/cgroups; cat /sys/fs/cgroup/cgroup.controllers; findmnt -t cgroup,cgroup2",
        )

    @property
    def tracking(self) -> Hierarchy:
        """The tree that keeps a sandbox's processes together: version 2 if it is mounted, else pids."""
        if not self.hierarchies:
            raise HostError("no control groups are mounted here", "try: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
        # In version 1's pids tree, births can be stopped while we kill.
        return max(self.hierarchies, key=lambda hierarchy: (hierarchy.version, "pids" in hierarchy.controllers))


@lru_cache(maxsize=1)
def layout() -> Layout:
    """Where this machine keeps its control groups; read once (layout.cache_clear() forgets it)."""
    with open("/proc/self/mountinfo", errors="surrogateescape") as mountinfo:
        mounts = parse_mountinfo(mountinfo.read())
    found = [_with_delegated(_hierarchy(mount)) for mount in mounts if mount.fstype in ("cgroup", "cgroup2")]
    # Version 1 first: a controller that is mounted there cannot be had in version 2.
    return Layout(tuple(sorted(found, key=lambda hierarchy: hierarchy.version)))


def _hierarchy(mount: MountPoint) -> Hierarchy:
    if mount.fstype == "cgroup":
        options = set(mount.super_options.split(",")) - {"rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode"}
        return Hierarchy(1, mount.target, mount.root, frozenset("io" if word == "blkio" else word for word in options))
    # These two are no controllers in version 2, but parts of every group: cpu.stat and cgroup.freeze.
    with open(f"{mount.target}/cgroup.controllers") as file:
        controllers = {*file.read().split(), "cpuacct", "freezer"}
    return Hierarchy(2, mount.target, mount.root, frozenset(controllers))


# -- delegation -------------------------------------------------------------------------------------------------------


def _with_delegated(hierarchy: Hierarchy) -> Hierarchy:
    if os.access(hierarchy.mount, os.W_OK):
        return hierarchy
    return hierarchy._replace(delegated=_delegated(hierarchy))


def _delegated(hierarchy: Hierarchy) -> str:
    """The highest group above this process, or its own, that this user may divide; '' if there is none.  cgroups(7)

    Not any group of this user's: the kernel moves a process only between groups below one that the mover may write to.
    """
    with open("/proc/self/cgroup", errors="surrogateescape") as file:
        place = place_in(hierarchy, parse_cgroup(file.read()))
    found = ""
    while place.startswith(f"{hierarchy.mount}/") and _may_divide(place, hierarchy.version):
        # Version 2 hands controllers down only from a group that holds no process itself.
        found = place if not (found and hierarchy.version == 2 and _holds_processes(place)) else found
        place = os.path.dirname(place)
    return found


def place_in(hierarchy: Hierarchy, memberships: list[Membership]) -> str:
    """The group of a process in a tree, as a directory; '' if it is in none."""
    for row in memberships:
        words = {"io" if word == "blkio" else word for word in row.controllers}
        if words & hierarchy.controllers if hierarchy.version == 1 else not words:
            return os.path.normpath(f"{hierarchy.mount}/{os.path.relpath(row.path, hierarchy.root)}")
    return ""


def _may_divide(group: str, version: int) -> bool:
    files = ["cgroup.procs", *(["cgroup.subtree_control"] if version == 2 else [])]
    return os.access(group, os.W_OK) and all(os.access(f"{group}/{file}", os.W_OK) for file in files)


def _holds_processes(group: str) -> bool:
    with open(f"{group}/cgroup.procs") as file:
        return bool(file.read(1))
