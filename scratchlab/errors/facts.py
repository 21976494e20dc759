"""Live facts, as far as /proc and the files themselves tell: what a finder asks when a call has failed.

The readers here differ from those of `linux.proc`, which stands on this layer: they never raise. Where /proc is not mounted,
or a line is not as expected, they say less. And they are never slow: a walk over all processes ends after PATIENCE.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

PATIENCE = 2.0  # seconds that one walk over /proc may take: much, for an emulated processor that others use too

# The numbers of the capabilities that some cause is about.  capabilities(7)
CAPABILITIES = {
    "CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_FOWNER": 3, "CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_SETPCAP": 8,
    "CAP_LINUX_IMMUTABLE": 9, "CAP_NET_BIND_SERVICE": 10, "CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_CHROOT": 18,
    "CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21, "CAP_SYS_BOOT": 22, "CAP_SYS_NICE": 23, "CAP_SYS_RESOURCE": 24,
    "CAP_SYS_TIME": 25, "CAP_MKNOD": 27, "CAP_SETFCAP": 31,
}  # fmt: skip

_INITIAL_USER_NAMESPACE = 0xEFFFFFFD  # PROC_USER_INIT_INO: this inode never changes.  linux/proc_ns.h


# -- files of a few words ---------------------------------------------------------------------------------------------


def text(path: str) -> str:
    """What a file says, or '' where it cannot be read."""
    try:
        with open(path, errors="surrogateescape") as file:
            return file.read().strip()
    except OSError:
        return ""


def link(path: str) -> str:
    """Where a symbolic link points, or ''."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def names(directory: str) -> list[str]:
    """What is in a directory, or nothing."""
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def status(field: str, pid: int | str = "self") -> str:
    """One field of /proc/PID/status, or ''.  proc_pid_status(5)"""
    lines = text(f"/proc/{pid}/status").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field + ":")), "")


def sysctl(name: str) -> str:
    """What a switch of the kernel says: `sysctl("kernel.pid_max")`.  sysctl(8)"""
    return text(f"/proc/sys/{name.replace('.', '/')}")


# -- rights -----------------------------------------------------------------------------------------------------------


def has_capability(name: str, of: str = "CapEff") -> bool:
    """Whether this process has a capability, as far as /proc says.  capabilities(7)"""
    mask = status(of)
    return bool(mask) and bool(int(mask, 16) >> CAPABILITIES[name] & 1)


def in_initial_user_namespace() -> bool:
    """Whether we are where the machine's own objects belong.  user_namespaces(7)"""
    try:
        return os.stat("/proc/self/ns/user").st_ino == _INITIAL_USER_NAMESPACE
    except OSError:
        return False


def id_map(kind: str = "uid") -> str:
    """Our uid_map or gid_map in one line: `0 1000 1`, several apart by commas.  user_namespaces(7)"""
    return ", ".join(" ".join(line.split()) for line in text(f"/proc/self/{kind}_map").splitlines())


def is_mapped(number: int, kind: str = "uid") -> bool:
    """Whether an id has a meaning in our user namespace."""
    rows = [line.split() for line in text(f"/proc/self/{kind}_map").splitlines()]
    return any(int(inside) <= number < int(inside) + int(length) for inside, _, length in rows)


def who() -> str:
    """We ourselves, as the permission check sees us: `user 1000, group 1000`."""
    return f"user {os.geteuid()}, group {os.getegid()}"


# -- mounts -----------------------------------------------------------------------------------------------------------


class Mounted(NamedTuple):
    """One line of mountinfo, as far as causes need it.  proc_pid_mountinfo(5)"""

    number: str
    parent: str
    root: str  # the directory of the filesystem that is seen at the target
    target: str
    options: list[str]
    propagation: list[str]
    fstype: str
    source: str
    super_options: list[str]

    @property
    def shared(self) -> bool:
        """Whether what is mounted in it is mounted for others too."""
        return any(word.startswith("shared:") for word in self.propagation)


def mounts(pid: int | str = "self") -> list[Mounted]:
    """The mounts that a process sees, or none where /proc does not say."""
    found = (_mounted(line) for line in text(f"/proc/{pid}/mountinfo").splitlines())
    return [mount for mount in found if mount]


def _mounted(line: str) -> Mounted | None:
    where, _, what = line.partition(" - ")
    words, rest = where.split(" "), what.split(" ", 2)
    if len(words) < 6 or len(rest) < 3:
        return None
    number, parent, _, root, target, options, *propagation = words
    return Mounted(
        number, parent, _plain(root), _plain(target), options.split(","), propagation,
        rest[0], _plain(rest[1]), rest[2].split(","),
    )  # fmt: skip


def _plain(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def mount_of(path: str) -> Mounted | None:
    """The mount that a path leads into, or would if it existed.  proc_pid_fdinfo(5)"""
    while not os.path.exists(path) and path not in ("", "/"):
        path = os.path.dirname(path.rstrip("/"))
    try:
        fd = os.open(path or ".", os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        said = re.search(r"mnt_id:\s*(\d+)", text(f"/proc/self/fdinfo/{fd}"))
    finally:
        os.close(fd)
    return next((mount for mount in mounts() if said and mount.number == said[1]), None)


def lies_in(path: str, directory: str) -> bool:
    """Whether a path leads to a directory, or to something below it.  path_resolution(7)"""
    real, top = os.path.realpath(path), os.path.realpath(directory)
    return real == top or real.startswith(f"{top.rstrip('/')}/")


def mounted_below(directory: str) -> list[str]:
    """The mount points below a directory."""
    top = os.path.realpath(directory)
    return [mount.target for mount in mounts() if mount.target != top and lies_in(mount.target, top)]


def is_mount_point(path: str) -> bool:
    """Whether something is mounted exactly there, a bind mount too."""
    found = mount_of(path)
    return found is not None and os.path.realpath(path) == found.target


def control_group(controller: str) -> str:
    """Our control group of a controller, as a directory: in version 1's tree of it, or in version 2's.  cgroups(7)"""
    rows = [line.split(":", 2) for line in text("/proc/self/cgroup").splitlines()]
    places = {name: path for _, names, path in rows for name in names.split(",")}
    for mount in mounts():
        ours = controller in mount.super_options if mount.fstype == "cgroup" else mount.fstype == "cgroup2"
        path = places.get(controller if mount.fstype == "cgroup" else "")
        if ours and path and (controller not in places or mount.fstype == "cgroup"):
            return os.path.normpath(f"{mount.target}/{os.path.relpath(path, mount.root)}")
    return ""


# -- processes --------------------------------------------------------------------------------------------------------


def pids() -> Iterator[int]:
    """The processes that can be seen from here, the newest first, for as long as PATIENCE lasts.  proc_pid(5)"""
    deadline = time.monotonic() + PATIENCE
    for pid in sorted((int(name) for name in names("/proc") if name.isdecimal()), reverse=True):
        if time.monotonic() > deadline:
            return
        yield pid


def command(pid: int | str) -> str:
    """What a process is called.  proc_pid_comm(5)"""
    return text(f"/proc/{pid}/comm")


def named(processes: Iterable[int | str]) -> str:
    """Processes for people: `412 (sleep), 413 (sh)`."""
    return ", ".join(f"{pid} ({command(pid)})" for pid in processes) or "none that can be seen from here"


WAYS = ("cwd", "root", "exe", "fd")  # in which a process holds a file


def using_below(directory: str, kinds: Iterable[str] = WAYS) -> list[str]:
    """Who uses a directory or something below it, and how."""
    top = os.path.realpath(directory).rstrip("/")
    # Not lies_in: what a link of another process says is no path that we should walk.
    return using(lambda link: link == top or link.startswith(f"{top}/"), kinds)


def using(wanted: Callable[[str], bool], kinds: Iterable[str] = WAYS) -> list[str]:
    """Who uses a file that is `wanted`, and how: `412 (sleep): cwd`. Our own descriptors count too.  proc_pid_fd(5)"""
    found = []
    for pid in pids():
        ways = [kind for kind in kinds if any(wanted(link(path)) for path in _links(pid, kind))]
        if ways:
            found.append(f"{pid} ({command(pid)}{', this process' if pid == os.getpid() else ''}): {', '.join(ways)}")
    return found


def _links(pid: int, kind: str) -> list[str]:
    where = f"/proc/{pid}/{kind}"
    return [f"{where}/{name}" for name in names(where)] if kind == "fd" else [where]


def mounting(source: str) -> list[str]:
    """Whose mount table holds a device: `412 (sleep) at /mnt`, one process of each mount namespace."""
    found, seen = [], set()
    for pid in pids():
        if (namespace := link(f"/proc/{pid}/ns/mnt")) not in seen:
            seen.add(namespace)
            found += [f"{pid} ({command(pid)}) at {mount.target}" for mount in mounts(pid) if mount.source == source]
    return found


# -- sockets ----------------------------------------------------------------------------------------------------------

LISTENS, TIME_WAIT = "0A", "06"  # states of TCP, as the kernel writes them


class Socket(NamedTuple):
    """A socket of this network namespace that has a port.  proc_pid_net(5)"""

    link: str  # as /proc/PID/fd shows it: socket:[4711]
    state: str


def sockets_on(port: int, protocols: Iterable[str] = ("tcp", "udp")) -> list[Socket]:
    """The sockets on a port of this network namespace, IPv6 ones too."""
    tables = [f"/proc/self/net/{protocol}{version}" for protocol in protocols for version in ("", "6")]
    rows = [line.split() for table in tables for line in text(table).splitlines()[1:]]
    return [Socket(f"socket:[{row[9]}]", row[3]) for row in rows if len(row) > 9 and int(row[1].rpartition(":")[2], 16) == port]


def holders(links: Iterable[str]) -> list[int]:
    """The processes that have one of these open, by what /proc/PID/fd shows."""
    wanted = set(links)
    return [pid for pid in pids() if wanted and any(link(path) in wanted for path in _links(pid, "fd"))]
