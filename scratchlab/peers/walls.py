"""What a mount table says about walls: which paths are covered, which are read-only, what is mounted where. Pure functions."""

from collections.abc import Iterable

from scratchlab.linux.proc import MountPoint

KERNEL_FILES = ("/proc", "/sys")


def at(mounts: Iterable[MountPoint], target: str) -> MountPoint | None:
    """What is seen at a path: of several mounts on each other, the last."""
    return next((mount for mount in reversed(list(mounts)) if mount.target == target), None)


def described(mount: MountPoint | None) -> str:
    """Kind and options in a few words: `proc nosuid,nodev,noexec`."""
    if mount is None:
        return "not mounted"
    options = [word for word in mount.options.split(",") if word not in ("ro", "relatime", "rw")]
    return f"{mount.fstype} {','.join(['ro' if is_read_only(mount) else 'rw', *options])}"


def is_read_only(mount: MountPoint) -> bool:
    """Whether nothing can be written there, be it for the mount's own sake or its filesystem's."""
    return "ro" in mount.options.split(",") + mount.super_options.split(",")


def masked(mounts: Iterable[MountPoint]) -> frozenset[str]:
    """Paths of /proc and /sys that are covered: a file by /dev/null, a directory by an empty tmpfs."""
    mounts = list(mounts)
    return frozenset(mount.target for mount in mounts if _is_below(mount.target) and _covers(mount, mounts))


def _covers(mount: MountPoint, mounts: list[MountPoint]) -> bool:
    if mount.root.endswith("/null"):
        return True
    # A tmpfs that holds other mounts is there for them: /sys/fs/cgroup is one, in version 1.
    holds = any(other.target.startswith(f"{mount.target}/") for other in mounts)
    return mount.fstype == "tmpfs" and is_read_only(mount) and not holds


def read_only(mounts: Iterable[MountPoint]) -> frozenset[str]:
    """Paths of /proc and /sys that nobody can write; not those below another of them."""
    found = {mount.target for mount in _of_the_kernel(mounts) if is_read_only(mount)}
    return frozenset(path for path in found if not any(path.startswith(f"{above}/") for above in found))


def writable(mounts: Iterable[MountPoint]) -> frozenset[str]:
    """What is mounted at or below /proc and /sys and can be written, such as /sys/fs/cgroup in a read-only /sys."""
    mounts = list(mounts)
    return frozenset(m.target for m in _of_the_kernel(mounts) if not is_read_only(m)) - masked(mounts)


def _of_the_kernel(mounts: Iterable[MountPoint]) -> list[MountPoint]:
    masks = ("tmpfs", "devtmpfs")
    return [
        m for m in mounts if m.target in KERNEL_FILES or (_is_below(m.target) and not (m.fstype in masks and is_read_only(m)))
    ]


def _is_below(target: str) -> bool:
    return target.startswith(tuple(f"{top}/" for top in KERNEL_FILES))


def brought_in(mounts: Iterable[MountPoint]) -> frozenset[str]:
    """What else is mounted, beyond the root, the kernel's files and /dev: volumes."""
    usual = ("/proc", "/sys", "/dev")
    return frozenset(m.target for m in mounts if m.target != "/" and not f"{m.target}/".startswith(tuple(f"{u}/" for u in usual)))
