"""EPERM: a capability is missing, or does not reach so far, or something else stands above capabilities.  capabilities(7)"""

import os

from scratchlab.errors import facts
from scratchlab.errors.cause import Asked, Cause

# What each call asks for. Of several, any one is enough.
NEEDS: dict[str, tuple[str, ...]] = {
    "bind": ("CAP_NET_BIND_SERVICE",),
    "chmod": ("CAP_FOWNER",),
    "chown": ("CAP_CHOWN",),
    "chroot": ("CAP_SYS_CHROOT",),
    "clock_settime": ("CAP_SYS_TIME",),
    "clone3": ("CAP_SYS_ADMIN",),
    "ioctl": ("CAP_NET_ADMIN",),
    "kill": ("CAP_KILL",),
    "mknod": ("CAP_MKNOD",),
    "mount": ("CAP_SYS_ADMIN",),
    "mount_setattr": ("CAP_SYS_ADMIN",),
    "move_mount": ("CAP_SYS_ADMIN",),
    "nft": ("CAP_NET_ADMIN",),
    "open_tree": ("CAP_SYS_ADMIN",),
    "pivot_root": ("CAP_SYS_ADMIN",),
    "ptrace": ("CAP_SYS_PTRACE",),
    "reboot": ("CAP_SYS_BOOT",),
    "sched_setaffinity": ("CAP_SYS_NICE",),
    "sendmsg": ("CAP_NET_ADMIN",),
    "setdomainname": ("CAP_SYS_ADMIN",),
    "setgroups": ("CAP_SETGID",),
    "sethostname": ("CAP_SYS_ADMIN",),
    "setns": ("CAP_SYS_ADMIN",),
    "setpriority": ("CAP_SYS_NICE",),
    "setresgid": ("CAP_SETGID",),
    "setresuid": ("CAP_SETUID",),
    "setrlimit": ("CAP_SYS_RESOURCE",),
    "socket": ("CAP_NET_RAW",),
    "umount2": ("CAP_SYS_ADMIN",),
    "unshare": ("CAP_SYS_ADMIN",),
}

# Switches of distributions that take away what user namespaces give, with the value that does it.
SWITCHES = {"kernel.apparmor_restrict_unprivileged_userns": "1", "kernel.unprivileged_userns_clone": "0"}


def lacks_capability(asked: Asked) -> Cause | None:
    """The capability that the call needs is not in effect here."""
    needed = NEEDS.get(asked.call, ())
    if not needed or any(facts.has_capability(name) for name in needed):
        return None
    return missing(" or ".join(needed), needed[0])


def missing(said: str, name: str) -> Cause:
    """Why a capability is not in effect: there are none, it was dropped, or it is only switched off."""
    effective = facts.status("CapEff")
    if not effective:
        return Cause(f"the call needs {said}")  # and without /proc there is no telling what we have
    if facts.has_capability(name, "CapPrm"):
        return Cause(f"{said} is permitted but not in effect: raise it with capset(2)", "grep Cap /proc/self/status")
    if not int(effective, 16):
        return Cause(
            f"{said} is missing: this process has no capabilities. Use sudo, or apply unshare_user first",
            "grep Cap /proc/self/status",
        )
    gone = (
        "" if facts.has_capability(name, "CapBnd") else "; it was dropped from the bounding set too, so no program brings it back"
    )
    return Cause(f"{said} is missing here{gone}", f"capsh --decode={effective}")


def restricted_by_switch(_asked: Asked) -> Cause | None:
    """A distribution's switch leaves user namespaces without the rights that they should give."""
    for name, value in SWITCHES.items():
        if facts.sysctl(name) == value and not _is_machines_root():
            return Cause(f"this machine restricts user namespaces: {name} is {value}", f"sysctl {name}")
    return None


def _is_machines_root() -> bool:
    return facts.in_initial_user_namespace() and facts.has_capability("CAP_SYS_ADMIN")


def outside_user_namespace(asked: Asked) -> Cause | None:
    """The capability is here, but the object belongs to a user namespace above."""
    needed = NEEDS.get(asked.call, ())
    if not needed or facts.in_initial_user_namespace() or not any(facts.has_capability(name) for name in needed):
        return None
    ids = facts.id_map() or "nothing yet"
    return Cause(
        f"{' or '.join(needed)} is here, but only over what this user namespace owns, and the object belongs to another user "
        f"namespace (uid_map: {ids}). Make a namespace of that kind in here first",
        "cat /proc/self/uid_map; lsns",
        "user_namespaces(7)",
    )


def clock_refused(asked: Asked) -> Cause | None:
    """Clocks of a time namespace are set by who could set the machine's."""
    if not asked.text("file").endswith("timens_offsets") or facts.has_capability("CAP_SYS_TIME"):
        return None
    return missing("CAP_SYS_TIME", "CAP_SYS_TIME")


def device_in_user_namespace(_asked: Asked) -> Cause | None:
    """Device nodes are of the machine, and no user namespace owns one."""
    if facts.in_initial_user_namespace() or not facts.has_capability("CAP_MKNOD"):
        return None
    return Cause(
        "a user namespace can make no device nodes, whatever its capabilities: bind-mount the host's node instead",
        "cat /proc/self/uid_map",
        "user_namespaces(7)",
    )


def no_user_namespace(asked: Asked) -> Cause | None:
    """A new user namespace needs no capability, but a root of its own mount namespace, and ids that mean something."""
    if not asked.has("flags", "NEWUSER"):
        return None
    mounted = facts.mounts()
    if mounted and "/" not in [mount.target for mount in mounted]:
        return Cause(
            "no user namespace can be made in a chroot: the root here is not that of the mount namespace", page="unshare(2)"
        )
    if mounted and not (facts.is_mapped(*_own("uid")) and facts.is_mapped(*_own("gid"))):
        return Cause(
            f"{facts.who()} has no meaning in this user namespace, and so can own no new one: map_ids first",
            "cat /proc/self/uid_map",
            "user_namespaces(7)",
        )
    if not mounted:
        return Cause("no user namespace can be made in a chroot, nor by an id without a mapping", page="user_namespaces(7)")
    return None


def _own(kind: str) -> tuple[int, str]:
    # What an unmapped id looks like is 65534, the overflow id.
    return int(facts.status(kind.capitalize()).split()[1]), kind


def seccomp_filter(_asked: Asked) -> Cause | None:
    """A filter may answer in the kernel's place: with EPERM, mostly."""
    if facts.status("Seccomp") != "2":
        return None
    count = facts.status("Seccomp_filters") or "some"
    return Cause(
        f"a seccomp filter is active here ({count} of them), and may refuse this call before the kernel looks at it",
        "grep Seccomp /proc/self/status",
        "seccomp(2)",
    )


# Which Linux brought the calls that an older one may lack.
SINCE = {
    "clone3": "5.3", "pidfd_open": "5.3", "openat2": "5.6", "close_range": "5.9", "mount_setattr": "5.12",
    "landlock_create_ruleset": "5.13",
}  # fmt: skip


def no_such_call(asked: Asked) -> Cause | None:
    """ENOSYS: a call that this kernel lacks, or that a filter hides."""
    known = f": it came with Linux {SINCE[asked.call]}" if asked.call in SINCE else ""
    return Cause(
        f"this kernel has no {asked.call}{known}, or a seccomp filter says so",
        "uname -r; grep Seccomp /proc/self/status",
        "syscalls(2)",
    )


def security_module(_asked: Asked) -> Cause | None:
    """AppArmor or SELinux may refuse what capabilities allow."""
    label = facts.text("/proc/self/attr/current").rstrip("\0\n")
    if not label or label.startswith(("unconfined", "kernel")):
        return None
    return Cause(
        f"this process runs under the label {label!r}, whose policy may refuse the call", "journalctl -k | grep -i denied"
    )


def device_group(asked: Asked) -> Cause | None:
    """A control group of version 1 may forbid a device."""
    group = facts.control_group("devices")
    device = asked.call == "mknod" or any(os.path.exists(path) and os.stat(path).st_rdev for path in asked.paths())
    # The list shows what is allowed one by one; where all but a few are, the kernel tells nobody which.
    listed = ", ".join(facts.text(f"{group}/devices.list").splitlines())
    if not device or not listed or facts.is_mount_point(group):  # the top of the tree allows all
        return None
    return Cause(
        f"this is a device, and the control group {group} allows only some (it lists: {listed})",
        f"cat {group}/devices.list",
        "cgroups(7)",
    )
