"""What a process can name: its root, the kernel's files in it, what else is mounted or open, and its network."""

from collections.abc import Callable
from functools import partial

from scratchlab.linux.proc import MountPoint
from scratchlab.observe import Snapshot
from scratchlab.observe.facts import LINK_LOCAL, without_numbers
from scratchlab.peers import orders, walls
from scratchlab.peers.aspect import Aspect, Read, listed

# -- files ------------------------------------------------------------------------------------------------------------


def _root(process: Snapshot, host: Snapshot) -> str:
    if process.root_inode == host.root_inode:
        return "the host's"
    # The link of a process that was only chrooted leads to a directory below the root of its mount table.
    return "own, by pivot_root" if process.root == "/" else "own, by chroot"


def _kind(target: str) -> Read:
    return lambda process, _host: walls.described(walls.at(process.mounts, target))


def _is_read_only(target: str) -> Read:
    def read(process: Snapshot, _host: Snapshot) -> bool:
        mount = walls.at(process.mounts, target)
        return mount is not None and walls.is_read_only(mount)

    return read


def _read_only(yes: bool) -> str:
    return "read-only" if yes else "writable"


def _fstype(process: Snapshot, _host: Snapshot) -> str:
    root = walls.at(process.mounts, "/")
    return root.fstype if root else "not mounted here"


def _propagation(process: Snapshot, _host: Snapshot) -> str:
    root = walls.at(process.mounts, "/")
    return root.propagation.partition(":")[0] if root else "private"


def _paths(find: Callable[[tuple[MountPoint, ...]], frozenset[str]]) -> Read:
    return lambda process, _host: find(process.mounts)


def _open(process: Snapshot, _host: Snapshot) -> frozenset[str]:
    return frozenset(f"{file.fd} {without_numbers(file.target)}" for file in process.files if file.fd > 2)


file = partial(Aspect, "files")
PROPAGATION = orders.ranked("shared", "master", "private")
ROOT = orders.ranked("the host's", "own, by chroot", "own, by pivot_root")

FILES = (
    file("root", "root", ("pivot", "chroot"), ROOT, _root, str, "has a way to the host's files"),
    file("root filesystem", "mounts", ("bind", "overlay"), orders.neither, _fstype),
    file("root writable", "mounts", ("readonly",), orders.having_it, _is_read_only("/"), _read_only, "changes its own image"),
    file("propagation", "mounts", ("private_mounts",), PROPAGATION, _propagation, str, "shares mounts"),
    file("/proc", "mounts", ("proc",), orders.neither, _kind("/proc")),
    file("/sys", "mounts", ("sysfs",), orders.neither, _kind("/sys")),
    file("/dev", "mounts", ("devices",), orders.neither, _kind("/dev")),
    file("masked paths", "mounts", ("mask",), orders.more, _paths(walls.masked), listed, "sees more of the host"),
    file("read-only paths", "mounts", ("readonly", "sysfs"), orders.more, _paths(walls.read_only), listed, "steers the kernel"),
    file("writable paths", "mounts", ("readonly", "sysfs"), orders.fewer, _paths(walls.writable), listed, "steers the kernel"),
    file("other mounts", "mounts", ("bind", "tmpfs"), orders.neither, _paths(walls.brought_in), listed),
    file("open files", "files", ("close_fds",), orders.fewer, _open, listed, "holds more than 0, 1, 2"),
)

# -- network ----------------------------------------------------------------------------------------------------------


def _links(process: Snapshot, _host: Snapshot) -> frozenset[str]:
    return frozenset(f"{link.name} {'up' if link.up else 'down'}" for link in process.links)


def _addresses(process: Snapshot, _host: Snapshot) -> frozenset[str]:
    return frozenset(f"{a.address} on {a.link}" for a in process.addresses if not a.address.startswith(LINK_LOCAL))


def _routes(process: Snapshot, _host: Snapshot) -> frozenset[str]:
    return frozenset(f"{r.destination} on {r.link}" for r in process.routes if not r.destination.startswith(LINK_LOCAL))


NETWORK = (
    Aspect("network", "links", "links", ("veth", "loopback", "bridge"), orders.neither, _links, listed),
    Aspect("network", "addresses", "addresses", ("veth", "address"), orders.neither, _addresses, listed),
    Aspect("network", "routes", "routes", ("veth", "route"), orders.neither, _routes, listed),
)
