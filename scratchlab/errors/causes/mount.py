"""Mounts: what is one, what is shared, what is locked, who holds it.  mount(2), umount2(2), pivot_root(2)"""

import os

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
        if place and "unbindable" in place.propagation:
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
    above = _parent(place)
    if above and above.shared:
        return Cause(
            f"{source} lies in the shared mount {above.target}, which nothing can be moved out of",
            "findmnt -o TARGET,PROPAGATION",
            _SHARED,
        )
    return None


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
    if place and not facts.lies_in(old, new):
        return Cause(f"{old} must be {new} itself or below it", f"realpath {new} {old}", "pivot_root(2)")
    return Cause(
        f"{new} must be a mount point that is not shared: bind-mount it on itself, after private_mounts",
        "findmnt -o TARGET,PROPAGATION",
        "pivot_root(2)",
    )


def _parent(place: facts.Mounted | None) -> facts.Mounted | None:
    return next((mount for mount in facts.mounts() if place and mount.number == place.parent), None)


# -- in a user namespace ----------------------------------------------------------------------------------------------


def not_for_user_namespaces(asked: Asked) -> Cause | None:
    """EPERM where CAP_SYS_ADMIN is over this namespace only."""
    if facts.in_initial_user_namespace() or not facts.has_capability("CAP_SYS_ADMIN"):
        return None
    fstype, page = asked.text("filesystemtype"), "user_namespaces(7)"
    tree = {"proc": "/proc", "sysfs": "/sys"}.get(fstype, "")
    if tree and (covered := facts.mounted_below(tree)):
        return Cause(
            f"a new {fstype} would show what is covered in the one here: {', '.join(covered[:4])}", f"findmnt -R {tree}", page
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


# -- EBUSY, ENOSPC and the rest ---------------------------------------------------------------------------------------


def held_mount(asked: Asked) -> Cause | None:
    """EBUSY of umount2: what is mounted below, or who works there."""
    target = asked.text("target")
    if below := facts.mounted_below(target):
        return Cause(f"something is mounted below it: {', '.join(below[:5])}", f"findmnt -R {target}", "umount2(2)")
    if not facts.mounts():  # after pivot_root: the old /proc has moved, and a new one is not there yet
        return Cause(
            f"something is mounted below {target}, or in use there (no /proc here tells what): DETACH does not mind",
            "ls /proc",
            "umount2(2)",
        )
    users = facts.using_below(target)
    said = "; ".join(users[:5]) or "none that can be seen from here; a loop device or a swap file, perhaps"
    return Cause(f"somebody works there or has a file open (who and how): {said}", f"fuser -vm {target}", "umount2(2)")


def busy_filesystem(asked: Asked) -> Cause | None:
    """EBUSY of mount: the same again, or read-only while somebody writes."""
    target = asked.text("target")
    if asked.has("mountflags", "REMOUNT"):
        users = facts.using_below(target, ("fd",))
        return Cause(
            f"files are open for writing there: {'; '.join(users[:5]) or 'by nobody who can be seen'}",
            f"fuser -vm {target}",
            "mount(2)",
        )
    source = asked.text("source")
    places = [f"here at {mount.target}" for mount in facts.mounts() if mount.source == source] or facts.mounting(source)
    if not places:
        return Cause(f"something at {target} is mounted already, or in use", f"findmnt {target}", "mount(2)")
    return Cause(
        f"{source} is mounted already, by other flags: {', '.join(places[:5])}", f"findmnt -S {source}; lsns -t mnt", "mount(2)"
    )


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


def ids_not_translated(asked: Asked) -> Cause | None:
    """EINVAL and EPERM of an id-mapped mount."""
    if not asked.has("attr_set", "IDMAP"):
        return None
    behind = facts.link(f"/proc/self/fd/{asked.text('dirfd')}") or asked.text("pathname")
    return Cause(
        f"the filesystem of {behind} does not translate ids, or it has one mount that does already, or this one is attached",
        f"stat -f -c %T {behind}",
        "mount_setattr(2)",
    )


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


def held_by_landlock(asked: Asked) -> Cause | None:
    """EPERM with every right to mount: who has given up files cannot bring them back by another mount."""
    if asked.call not in ("mount", "umount2", "pivot_root", "move_mount") or not facts.has_capability("CAP_SYS_ADMIN"):
        return None
    return Cause(
        "nothing that can be seen forbids it, so it is Landlock: who has given up files can change no mounts. Apply it last",
        "cat /sys/kernel/security/lsm",
        "landlock(7)",
    )
