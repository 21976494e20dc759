"""Mounts: what is one, what is shared, what is locked, who holds it.  mount(2), umount2(2), pivot_root(2)"""

import os
import re

from scratchlab.errors import facts
from scratchlab.errors.cause import Asked, Cause

_SHARED = "mount_namespaces(7)"


def unknown_filesystem(asked: Asked) -> Cause | None:
    """ENODEV: the kernel has no such filesystem."""
    name = asked.text("filesystemtype")
    return Cause(f"this kernel has no filesystem {name!r}, and found no module for it", "cat /proc/filesystems", "filesystems(5)")


def file_and_directory(asked: Asked) -> Cause | None:
    """ENOTDIR: a bind mount of a file on a directory, or the reverse."""
    source, target = asked.text("source"), asked.text("target")
    if not asked.has("mountflags", "BIND") or not (os.path.exists(source) and os.path.exists(target)):
        return None
    one, other = (("a directory" if os.path.isdir(path) else "a file") for path in (source, target))
    if one == other:
        return None
    return Cause(
        f"{source} is {one}, and {target} is {other}: one can be mounted on its like only", f"stat -c '%n: %F' {source} {target}"
    )


def options_refused(asked: Asked) -> Cause | None:
    """EINVAL of a filesystem's own options."""
    data, fstype = asked.text("data"), asked.text("filesystemtype")
    if not data:
        return None
    return Cause(f"{fstype} does not take these options, or not these values: {data}", "dmesg | tail -3", "mount(2)")


def move_or_bind_refused(asked: Asked) -> Cause | None:
    """EINVAL of a mount that already exists."""
    source, target = asked.text("source"), asked.text("target")
    if asked.has("mountflags", "REMOUNT") and not facts.is_mount_point(target):
        return Cause(
            f"{target} is not a mount point, so there is nothing to remount: bind it on itself first",
            f"findmnt {target}",
            "mount(2)",
        )
    if asked.has("mountflags", "MOVE"):
        return _cannot_move(source)
    if asked.has("mountflags", "BIND"):
        place = facts.mount_of(source)
        if place and "unbindable" in _propagation(place.number):
            return Cause(f"{place.target} is unbindable", "findmnt -o TARGET,PROPAGATION", _SHARED)
        return Cause(
            f"{source} is in a mount of another mount namespace, or has locked mounts below it: bind with REC",
            "findmnt -o TARGET,PROPAGATION", _SHARED,
        )  # fmt: skip
    if not asked.text("filesystemtype") and not facts.is_mount_point(target):
        return Cause(f"{target} is not a mount point, so it has no propagation to change", f"findmnt {target}", "mount(2)")
    return None


def _cannot_move(source: str) -> Cause | None:
    place = facts.mount_of(source)
    if not facts.is_mount_point(source):
        return Cause(f"{source} is not a mount point, and only a mount can be moved", f"findmnt {source}", "mount(2)")
    above = next((mount for mount in facts.mounts() if place and mount.number == place.parent), None)
    if above and above.shared:
        return Cause(
            f"{source} lies in the shared mount {above.target}, which nothing can be moved out of",
            "findmnt -o TARGET,PROPAGATION",
            _SHARED,
        )
    return None


def _propagation(number: str) -> list[str]:
    line = next((line for line in facts.text("/proc/self/mountinfo").splitlines() if line.startswith(f"{number} ")), "")
    return line.partition(" - ")[0].split(" ")[6:]


# -- pivot_root -------------------------------------------------------------------------------------------------------


def cannot_pivot(asked: Asked) -> Cause | None:
    """EINVAL and EBUSY of pivot_root, in the order in which the kernel looks."""
    new, old = asked.text("new_root"), asked.text("put_old")
    place, root = facts.mount_of(new), facts.mount_of("/")
    if place and root and place.number == root.number and asked.symbol == "EBUSY":
        return Cause(
            f"{new} is in the mount of the root itself: it must be a mount of its own: bind-mount it on itself",
            f"findmnt -T {new}",
            "pivot_root(2)",
        )
    if place and not facts.is_mount_point(new):
        return Cause(f"{new} must be a mount point, and is not: bind-mount it on itself", f"findmnt {new}", "pivot_root(2)")
    shared = [mount.target for mount in (place, root, _parent(place)) if mount and mount.shared]
    if shared:
        return Cause(
            f"the mount {shared[0]} is shared, and pivot_root would change it for others: private_mounts first",
            "findmnt -o TARGET,PROPAGATION",
            _SHARED,
        )
    if place and not os.path.realpath(old).startswith(os.path.realpath(new)):
        return Cause(f"{old} must be {new} itself or below it", f"realpath {new} {old}", "pivot_root(2)")
    return Cause(
        f"{new} must be a mount point that is not shared: bind-mount it on itself, after private_mounts",
        "findmnt -o TARGET,PROPAGATION",
        "pivot_root(2)",
    )


def _parent(place: facts.Mounted | None) -> facts.Mounted | None:
    return next((mount for mount in facts.mounts() if place and mount.number == place.parent), None)


# -- overlay ----------------------------------------------------------------------------------------------------------


def overlay_layer(asked: Asked) -> Cause | None:
    """A layer that is missing, or where the kernel cannot use it."""
    if asked.text("filesystemtype") != "overlay":
        return None
    layers = dict(re.findall(r"(upperdir|workdir)=([^,]*)", asked.text("data")))
    lower = re.search(r"lowerdir=([^,]*)", asked.text("data"))
    for layer in [*(lower[1].split(":") if lower else []), *layers.values()]:
        if layer and not os.path.isdir(layer):
            return Cause(
                f"the layer {layer} {'is not a directory' if os.path.exists(layer) else 'does not exist'}",
                f"ls -ld {layer}",
                "mount(8)",
            )
    return _upper_and_work(layers.get("upperdir", ""), layers.get("workdir", ""))


def _upper_and_work(upper: str, work: str) -> Cause | None:
    ours, theirs = facts.mount_of(upper), facts.mount_of(work)
    if not upper or not ours:
        return None
    if not work:
        return Cause("an upperdir needs a workdir, on the same filesystem", "findmnt -t overlay", "mount(8)")
    if theirs and ours.number != theirs.number:
        return Cause(
            f"workdir is in the mount {theirs.target}, and upperdir in {ours.target}: they must be in the same",
            f"findmnt -T {work}",
            "mount(8)",
        )
    if ours.fstype == "overlay":
        return Cause(
            f"upperdir lies on an overlay itself ({ours.target}), which it cannot: put it on a tmpfs",
            f"findmnt -T {upper}",
            "mount(8)",
        )
    if os.path.realpath(work).startswith(os.path.realpath(upper)):
        return Cause("workdir must not be in upperdir, nor the reverse", f"realpath {upper} {work}", "mount(8)")
    return None


# -- in a user namespace ----------------------------------------------------------------------------------------------


def not_for_user_namespaces(asked: Asked) -> Cause | None:
    """EPERM where CAP_SYS_ADMIN is over this namespace only."""
    if facts.in_initial_user_namespace() or not facts.has_capability("CAP_SYS_ADMIN"):
        return None
    fstype, page = asked.text("filesystemtype"), "user_namespaces(7)"
    if fstype in ("proc", "sysfs") and (covered := _covered(f"/{'sys' if fstype == 'sysfs' else 'proc'}")):
        return Cause(
            f"a new {fstype} would show what is covered in the one here: {', '.join(covered[:4])}",
            f"findmnt -R /{fstype[:4].rstrip('f')}",
            page,
        )
    if fstype in ("proc", "sysfs", "mqueue"):
        kind = {"proc": "pid", "sysfs": "network", "mqueue": "IPC"}[fstype]
        return Cause(
            f"{fstype} shows a {kind} namespace that belongs to another user namespace: unshare that one too", "lsns", page
        )
    if fstype not in ("", "tmpfs", "overlay", "devpts", "ramfs", "cgroup", "cgroup2", "fuse", "bpf", "binfmt_misc"):
        return Cause(
            f"the kernel lets no user namespace mount {fstype}: a made-up disk could attack it", "cat /proc/filesystems", page
        )
    if asked.has("mountflags", "REMOUNT"):
        place = facts.mount_of(asked.text("target"))
        said = ",".join(place.options) if place else "more than asked"
        return Cause(
            f"this mount came from a namespace above, and its flags ({said}) are locked: repeat them all",
            f"findmnt {asked.text('target')}",
            _SHARED,
        )
    return None


def _covered(tree: str) -> list[str]:
    return [mount.target for mount in facts.mounts() if mount.target.startswith(f"{tree}/")]


# -- EBUSY, ENOSPC and the rest ---------------------------------------------------------------------------------------


def held_mount(asked: Asked) -> Cause | None:
    """EBUSY of umount2: what is mounted below, or who works there."""
    target = os.path.realpath(asked.text("target"))
    below = [mount.target for mount in facts.mounts() if mount.target.startswith(f"{target}/")]
    if below:
        return Cause(f"something is mounted below it: {', '.join(below[:5])}", f"findmnt -R {target}", "umount2(2)")
    users = facts.using(lambda link: link == target or link.startswith(f"{target}/"))
    said = "; ".join(users[:5]) or "none that can be seen from here; a loop device or a swap file, perhaps"
    return Cause(f"somebody works there or has a file open (who and how): {said}", f"fuser -vm {target}", "umount2(2)")


def busy_filesystem(asked: Asked) -> Cause | None:
    """EBUSY of mount: the same again, or read-only while somebody writes."""
    target = os.path.realpath(asked.text("target"))
    if asked.has("mountflags", "REMOUNT"):
        users = facts.using(lambda link: link.startswith(f"{target}/"), ("fd",))
        return Cause(
            f"files are open for writing there: {'; '.join(users[:5]) or 'by nobody who can be seen'}",
            f"fuser -vm {target}",
            "mount(2)",
        )
    source = asked.text("source")
    places = [mount.target for mount in facts.mounts() if mount.source == source]
    where = f"{source} is mounted already, at {', '.join(places[:5])}" if places else f"something is mounted at {target} already"
    return Cause(f"{where}, or in use", f"findmnt -S {source}", "mount(2)")


def not_mounted(asked: Asked) -> Cause | None:
    """EINVAL of umount2 and mount_setattr: no mount point, or one that is locked to others."""
    path = asked.text("target") or asked.text("pathname")
    if not facts.is_mount_point(path):
        place = facts.mount_of(path)
        inside = f": it lies in the mount {place.target}" if place else ""
        return Cause(f"{path} is not a mount point{inside}", f"findmnt -T {path}", f"{asked.call}(2)")
    if asked.call == "umount2" and not facts.in_initial_user_namespace():
        return Cause(
            f"{path} came from a mount namespace above, and is locked to what covers or holds it", f"findmnt {path}", _SHARED
        )
    if asked.call == "umount2" and os.path.realpath(path) == "/":
        return Cause("/ is the root of this mount namespace, which stays mounted", "findmnt /", "umount2(2)")
    return None


def too_many_mounts(_asked: Asked) -> Cause | None:
    """ENOSPC of mount: a mount namespace may hold so many."""
    most, here = facts.sysctl("fs.mount-max"), len(facts.mounts())
    return Cause(
        f"this mount namespace holds {here} mounts, and fs.mount-max is {most}", "sysctl fs.mount-max", "mount_namespaces(7)"
    )


def no_such_disk(asked: Asked) -> Cause | None:
    """ENOTBLK: a filesystem that wants a disk."""
    return Cause(
        f"{asked.text('filesystemtype')} lies on a disk, and {asked.text('source')} is no block device", "lsblk", "mount(2)"
    )


def no_filesystem_there(asked: Asked) -> Cause | None:
    """EINVAL of a disk that holds something else."""
    if not os.path.exists(asked.text("source")) or not asked.text("filesystemtype"):
        return None
    return Cause(
        f"{asked.text('source')} holds no {asked.text('filesystemtype')} that the kernel can read",
        f"blkid {asked.text('source')}",
        "mount(2)",
    )


def kernel_too_old(asked: Asked) -> Cause | None:
    """ENOSYS: a call that this kernel lacks, or that a filter hides."""
    since = {
        "mount_setattr": "5.12",
        "openat2": "5.6",
        "clone3": "5.3",
        "landlock_create_ruleset": "5.13",
        "close_range": "5.9",
        "pidfd_open": "5.3",
    }
    version = since.get(asked.call)
    known = f": it came with Linux {version}" if version else ""
    return Cause(
        f"this kernel has no {asked.call}{known}, or a seccomp filter says so",
        "uname -r; grep Seccomp /proc/self/status",
        "syscalls(2)",
    )
