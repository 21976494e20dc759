"""What works on this machine: each thing is tried for real, in a child that is thrown away. Version numbers are not read."""

import os
import signal
from collections.abc import Callable
from typing import NamedTuple

from scratchlab import linux
from scratchlab.errors import HostError, ScratchlabError
from scratchlab.linux import Clone, Mount, cgroupfs, nftables


class Finding(NamedTuple):
    """One thing that was tried."""

    what: str
    works: bool
    why: str  # what the kernel said, and what to do; empty where it works
    stages: str  # which stages want it

    def __str__(self) -> str:
        mark = "works  " if self.works else "FAILS  "
        trouble = "" if self.works else "".join(f"\n           {line.strip()}" for line in self.why.splitlines())
        return f"{mark}{self.what:<32} {self.stages}{trouble}"


def examine() -> list[Finding]:
    """Try everything. Nothing is changed: each try happens in a child with namespaces of its own."""
    return [Finding(what, not (why := _try(act)), why, stages) for what, act, stages in TRIES]


def _try(act: Callable[[], None]) -> str:
    """Do `act` in a child. Gives what went wrong, or ''."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)  # a try that hangs is a try that fails
        os.write(writer, _trouble(act).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as told:
        why = told.read()
    _, status = os.waitpid(pid, 0)
    return why or (f"the try was ended by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "")


def _trouble(act: Callable[[], None]) -> str:
    try:
        act()
    except (ScratchlabError, OSError) as error:
        return str(error)
    return ""


def _new(flags: Clone) -> Callable[[], None]:
    return lambda: linux.unshare(flags)


def _mount(filesystem: str, data: str | None = None) -> Callable[[], None]:
    def act() -> None:
        linux.unshare(Clone.NEWNS)
        linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)
        linux.mount(filesystem, "/tmp", filesystem, Mount(0), data)

    return act


def _overlay() -> None:
    _mount("tmpfs")()
    for name in ("lower", "upper", "work", "merged"):
        linux.mkdir(f"/tmp/{name}")
    linux.mount("overlay", "/tmp/merged", "overlay", Mount(0), "lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work")


def _device() -> None:
    _mount("tmpfs")()
    linux.mknod("/tmp/null", 0o020666, os.makedev(1, 3))
    os.close(os.open("/tmp/null", os.O_WRONLY))


def _controller(name: str) -> Callable[[], None]:
    return lambda: cgroupfs.require(name)


def _veth() -> None:
    from scratchlab.linux import netlink

    linux.unshare(Clone.NEWNET)
    netlink.send(netlink.new_veth("veth", netlink.random_mac(), "eth0", os.getpid()))


# A little of all that nat and publish need; in a network namespace that is thrown away.
RULES = """
add table ip scratchlab
add chain ip scratchlab out { type nat hook output priority -100; }
add rule ip scratchlab out fib daddr type local tcp dport 8080 dnat to 172.22.0.2:80
add chain ip scratchlab post { type nat hook postrouting priority srcnat; }
add rule ip scratchlab post ip saddr 172.22.0.0/24 masquerade
"""


def _nftables() -> None:
    linux.unshare(Clone.NEWNET)
    nftables.run(RULES)


def _mount_as_user() -> None:
    if os.geteuid() == 0:
        linux.setgroups([])
        linux.setresgid(65534, 65534, 65534)
        linux.setresuid(65534, 65534, 65534)
    uid, gid = os.geteuid(), os.getegid()
    linux.unshare(Clone.NEWUSER | Clone.NEWNS)
    linux.prctl(linux.Prctl.SET_DUMPABLE, 1)  # after setresuid our files in /proc would belong to root
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        linux.write_file(f"/proc/self/{name}", text)
    # Some distributions allow the namespace and then refuse everything in it: only a mount tells.
    linux.mount("tmpfs", "/tmp", "tmpfs")


def _root() -> None:
    if os.geteuid() != 0:
        raise HostError("you are not root", "use sudo; without root, start from stages.unshare_user")


TRIES: list[tuple[str, Callable[[], None], str]] = [
    ("root", _root, "most stages"),
    ("UTS namespace", _new(Clone.NEWUTS), "unshare_uts, hostname"),
    ("IPC namespace", _new(Clone.NEWIPC), "unshare_ipc"),
    ("PID namespace", _new(Clone.NEWPID), "unshare_pid"),
    ("network namespace", _new(Clone.NEWNET), "unshare_net"),
    ("cgroup namespace", _new(Clone.NEWCGROUP), "unshare_cgroup"),
    ("time namespace", _new(Clone.NEWTIME), "unshare_time"),
    ("mount namespace, tmpfs", _mount("tmpfs"), "unshare_mount, tmpfs, devices, pivot"),
    ("user namespace without root", _mount_as_user, "unshare_user, map_ids"),
    ("overlay", _overlay, "overlay"),
    ("POSIX message queues", _mount("mqueue"), "devices"),
    ("device nodes", _device, "devices"),
    ("control group: cpu", _controller("cpu"), "cpu"),
    ("control group: memory", _controller("memory"), "memory"),
    ("control group: pids", _controller("pids"), "pids"),
    ("control group: io", _controller("io"), "io"),
    ("veth", _veth, "veth, bridge"),
    ("nftables", _nftables, "nat, publish"),
]
