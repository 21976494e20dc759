"""For each stage, one step to measure, in a sandbox that has come so far that the step has something to change."""

import os
from pathlib import Path
from typing import NamedTuple

from scratchlab import linux, stages
from scratchlab.linux import Mount
from scratchlab.stages import Step, step

NOT_HERE = {
    "apparmor_profile": "a kernel with AppArmor switched on",
    "selinux_label": "a kernel with SELinux switched on",
    "pasta": "a /dev/net/tun that may be opened",
    "slirp4netns": "a /dev/net/tun that may be opened",
}


class Demonstration(NamedTuple):
    """One step to show."""

    step: Step
    before: tuple[Step, ...] = ()
    without: tuple[str, ...] = ()  # sorts of changes that each machine shows differently here


def share_all() -> None:
    """Be on a host whose mounts are shared, as they are where systemd runs."""
    linux.mount(None, "/", None, Mount.REC | Mount.SHARED)


MOUNTS = (step(stages.unshare_mount), step(stages.private_mounts))
NETWORK = (step(stages.unshare_net),)
CABLE = (*NETWORK, step(stages.veth))
ADDRESS = step(stages.address, "eth0", "192.0.2.9/24")
FAMILY = (step(stages.unshare_user), step(stages.map_ids, outside=100000, count=65536))
PROMISE = (step(stages.no_new_privs),)


class Things(NamedTuple):
    """What the steps name. No two runs share any of it, and each has a symbol in what is stored."""

    place: str  # a folder with a root filesystem and some directories
    neighbour: int  # a process of another sandbox
    bridge: str
    port: int
    disk: str

    @classmethod
    def of(cls, place: str, neighbour: int) -> "Things":
        """Names that nobody else has at the moment."""
        return cls(place, neighbour, f"br{os.getpid()}", 20000 + os.getpid() % 10000, some_disk())

    @property
    def symbols(self) -> dict[str, str]:
        """What stands for them."""
        return {self.place: "/tmp/web", self.bridge: "scratchlab0", str(self.port): "8080", self.disk: "254:0"}


def demonstrations(things: Things) -> dict[str, Demonstration]:
    """By stage."""
    root = f"{things.place}/rootfs"
    listed = (
        *_namespaces(things), *_mounts(things.place), *_roots(root), *_network(things), *_limits(things), *_privileges(),
    )  # fmt: skip
    return {each.step.name: each for each in listed}


def _namespaces(things: Things) -> tuple[Demonstration, ...]:
    return (
        Demonstration(step(stages.unshare_uts)),
        Demonstration(step(stages.unshare_ipc)),
        Demonstration(step(stages.unshare_mount)),
        Demonstration(step(stages.unshare_net), without=("links", "addresses", "routes")),
        Demonstration(step(stages.unshare_cgroup)),
        Demonstration(step(stages.unshare_pid)),
        Demonstration(step(stages.unshare_time, boottime=86400)),
        Demonstration(step(stages.unshare_user), without=("capabilities",)),
        Demonstration(step(stages.map_ids, outside=100000, count=65536), FAMILY[:1]),
        Demonstration(step(stages.hostname, "web"), (step(stages.unshare_uts), step(stages.hostname, "host"))),
        Demonstration(step(stages.join, things.neighbour, "uts"), without=("hostname",)),
    )


def _mounts(place: str) -> tuple[Demonstration, ...]:
    layers = [f"{place}/{name}" for name in ("lower", "upper", "work", "merged")]
    return (
        Demonstration(step(stages.private_mounts), (step(stages.unshare_mount), step(share_all))),
        Demonstration(step(stages.bind, "/etc", f"{place}/there", readonly=True), MOUNTS),
        Demonstration(step(stages.idmap, f"{place}/lower", f"{place}/there"), (*FAMILY, *MOUNTS)),
        Demonstration(step(stages.overlay, *layers), MOUNTS),
        Demonstration(step(stages.tmpfs, f"{place}/there", size="16M"), MOUNTS),
        Demonstration(step(stages.mask, "/proc/keys"), MOUNTS),
        Demonstration(step(stages.readonly, "/proc/sys"), MOUNTS),
    )


def _roots(root: str) -> tuple[Demonstration, ...]:
    return (
        Demonstration(step(stages.chroot, root), MOUNTS, without=("mounts",)),
        Demonstration(step(stages.pivot, root), MOUNTS),
        Demonstration(step(stages.mount_points, root, "/data")),
        Demonstration(step(stages.devices, root=root), MOUNTS),
        Demonstration(step(stages.proc, root=root), (step(stages.unshare_pid), *MOUNTS)),
        Demonstration(step(stages.sysfs, root=root), (*NETWORK, *MOUNTS)),
        Demonstration(step(stages.resolv, ["192.0.2.53"], root=root), (*NETWORK, *MOUNTS)),
    )


def _network(things: Things) -> tuple[Demonstration, ...]:
    return (
        Demonstration(step(stages.loopback), NETWORK),
        Demonstration(step(stages.veth), NETWORK),
        Demonstration(step(stages.bridge, things.bridge), NETWORK),
        Demonstration(ADDRESS, CABLE),
        Demonstration(step(stages.route, "192.0.2.1", "198.51.100.0/24"), (*CABLE, ADDRESS)),
        Demonstration(step(stages.nat), CABLE),
        Demonstration(step(stages.input_drop), CABLE),
        Demonstration(step(stages.publish, f"{things.port}:80"), (*CABLE, step(stages.nat))),
    )


def _limits(things: Things) -> tuple[Demonstration, ...]:
    return (
        Demonstration(step(stages.cpu, 0.2)),
        Demonstration(step(stages.memory, "64M")),
        Demonstration(step(stages.pids, 512)),
        Demonstration(step(stages.io, things.disk, write_bps="1M")),
        Demonstration(step(stages.join_groups, things.neighbour)),
    )


def _privileges() -> tuple[Demonstration, ...]:
    return (
        Demonstration(step(stages.user, 1000)),
        Demonstration(step(stages.capabilities, ["KILL"])),
        Demonstration(step(stages.ambient, ["NET_BIND_SERVICE"])),
        Demonstration(step(stages.no_new_privs)),
        Demonstration(step(stages.rlimits, NOFILE=1024), (step(stages.rlimits, NOFILE=2048),)),
        Demonstration(step(stages.close_fds)),
        Demonstration(step(stages.seccomp, ["mount", "umount2"]), PROMISE),
        Demonstration(step(stages.landlock, write=["/tmp"]), PROMISE),
    )


def some_disk() -> str:
    """The first disk of this machine, by its numbers."""
    disks = sorted(disk for disk in Path("/sys/block").iterdir() if (disk / "dev").exists() and os.path.exists(disk / "device"))
    return (disks or sorted(Path("/sys/block").iterdir()))[0].joinpath("dev").read_text().strip()
