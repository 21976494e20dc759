"""Where this machine mounts its control groups: one tree, a tree for each controller, or both.  cgroups(7)"""

from functools import lru_cache
from typing import NamedTuple

from scratchlab.errors import HostError
from scratchlab.linux.proc import MountPoint, parse_mountinfo


class Hierarchy(NamedTuple):
    """One tree of groups: what it controls, and where it is mounted."""

    version: int
    mount: str
    root: str  # the group that is seen at the mount point; not "/" in a container
    controllers: frozenset[str]  # by version 2's names: "io", where version 1 says "blkio"


class Layout(NamedTuple):
    """All trees of groups on this machine."""

    hierarchies: tuple[Hierarchy, ...]

    def of(self, controller: str) -> Hierarchy:
        """The tree that has a controller. Raises HostError if none has."""
        for hierarchy in self.hierarchies:
            if controller in hierarchy.controllers:
                return hierarchy
        looked = ", ".join(hierarchy.mount for hierarchy in self.hierarchies) or "none is mounted"
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
    found = [_hierarchy(mount) for mount in mounts if mount.fstype in ("cgroup", "cgroup2")]
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
