"""Isolation, one callable step at a time: `stages.hostname`, and `stages.STAGES` with all of them by name."""

from scratchlab.stages.access import landlock
from scratchlab.stages.cgroups import cpu, io, join_groups, memory, pids
from scratchlab.stages.filesystem import (
    bind,
    chroot,
    devices,
    mask,
    mount_points,
    overlay,
    pivot,
    private_mounts,
    readonly,
    tmpfs,
)
from scratchlab.stages.filters import seccomp
from scratchlab.stages.id_maps import map_ids
from scratchlab.stages.idmapped import idmap
from scratchlab.stages.kernel_files import proc, sysfs
from scratchlab.stages.labels import apparmor_profile, selinux_label
from scratchlab.stages.namespaces import (
    hostname,
    join,
    unshare_cgroup,
    unshare_ipc,
    unshare_mount,
    unshare_net,
    unshare_pid,
    unshare_time,
    unshare_user,
    unshare_uts,
)
from scratchlab.stages.network import address, bridge, input_drop, loopback, nat, publish, resolv, route, veth
from scratchlab.stages.privileges import ambient, capabilities, close_fds, no_new_privs, rlimits, user
from scratchlab.stages.stage import STAGES, Step, Target, about, inside, outside, step
from scratchlab.stages.usernet import pasta, slirp4netns

__all__ = [
    "STAGES",
    "Step",
    "Target",
    "about",
    "address",
    "ambient",
    "apparmor_profile",
    "bind",
    "bridge",
    "capabilities",
    "chroot",
    "close_fds",
    "cpu",
    "devices",
    "hostname",
    "idmap",
    "input_drop",
    "inside",
    "io",
    "join",
    "join_groups",
    "landlock",
    "loopback",
    "map_ids",
    "mask",
    "memory",
    "mount_points",
    "nat",
    "no_new_privs",
    "outside",
    "overlay",
    "pasta",
    "pids",
    "pivot",
    "private_mounts",
    "proc",
    "publish",
    "readonly",
    "resolv",
    "rlimits",
    "route",
    "seccomp",
    "selinux_label",
    "slirp4netns",
    "step",
    "sysfs",
    "tmpfs",
    "unshare_cgroup",
    "unshare_ipc",
    "unshare_mount",
    "unshare_net",
    "unshare_pid",
    "unshare_time",
    "unshare_user",
    "unshare_uts",
    "user",
    "veth",
]
