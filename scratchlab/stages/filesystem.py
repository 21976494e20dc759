"""The filesystem: which files a process can name. First its own mount table, then its own root, then what programs expect.

Every stage that mounts takes `root`: empty, the target is a path as this process sees it; else it is a path in that root
filesystem, which nobody has entered yet, and no link in it can lead the mount out of it.  path_resolution(7)
"""

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from scratchlab import linux
from scratchlab.errors import InputError, KernelError, StageError
from scratchlab.linux import At, Mount, MountAttr, Umount, paths
from scratchlab.shared import hold_mount_point
from scratchlab.stages.stage import Target, inside, outside

PROPAGATION = {"private": Mount.PRIVATE, "slave": Mount.SLAVE, "shared": Mount.SHARED, "unbindable": Mount.UNBINDABLE}
HARMLESS = Mount.NOSUID | Mount.NODEV | Mount.NOEXEC  # files there can be read and written, and give no powers

# What /dev holds in a container: harmless devices, by major and minor number.  null(4), random(4), tty(4)
NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


class Filesystem(NamedTuple):
    """A filesystem below /dev."""

    fstype: str
    flags: Mount
    data: str | None


MOUNTS = {
    "pts": Filesystem("devpts", Mount.NOSUID | Mount.NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"),
    "shm": Filesystem("tmpfs", HARMLESS, "mode=1777,size=65536k"),
    "mqueue": Filesystem("mqueue", HARMLESS, None),
}

# Files of /proc and /sys that tell about the host, or steer it, because no namespace covers them: all that docker, runc
# or podman mask. With a star, one below each processor.
MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
    "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/dev/block", "/sys/devices/system/cpu/cpu*/thermal_throttle",
    "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux",
)  # fmt: skip
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


# -- the mount table --------------------------------------------------------------------------------------------------


@inside("mount_namespaces(7)", "mount(2)", shell="mount --make-rprivate /", engine="always, by docker run", needs=("mnt",))
def private_mounts(propagation: str = "private") -> None:
    """Mounts that nobody else sees; as "slave", the host's later mounts still come in.  mount_namespaces(7)"""
    if propagation not in PROPAGATION:
        raise InputError(f"no such propagation: {propagation!r}", f"choose one of {', '.join(PROPAGATION)}")
    linux.mount(None, "/", None, Mount.REC | PROPAGATION[propagation])


@inside("mount(2)", shell="mount --rbind SOURCE TARGET", engine="docker run --volume SOURCE:TARGET:ro", needs=("mnt",))
def bind(source: str, target: str, readonly: bool = False, recursive: bool = True, root: str = "") -> None:
    """A directory or file of the host, at a second place.  mount(2)"""
    if not os.path.exists(source):
        raise InputError(f"{source} does not exist, so it cannot be bound to {target}", f"make it first: mkdir -p {source}")
    with paths.pinned(target, root) as place:
        linux.mount(source, place, None, Mount.BIND | (Mount.REC if recursive else Mount(0)))
    if readonly:
        make_readonly(target, root, recursive)


@inside("mount(2)", shell="mount -t overlay …", engine="always, by docker run, for image layers", needs=("mnt",))
def overlay(lower: str | Sequence[str], upper: str, work: str, target: str, root: str = "") -> None:
    """Layers seen as one: reads fall through to `lower`, first one on top; writes stay in `upper`.  mount(2)"""
    layers = [lower] if isinstance(lower, str) else list(lower)
    for directory in (*layers, upper, work):
        if not os.path.isdir(directory):
            raise InputError(f"overlay: {directory} is not a directory", f"make it first: mkdir -p {directory}")
    data = f"lowerdir={':'.join(map(_escape, layers))},upperdir={_escape(upper)},workdir={_escape(work)}"
    if len(os.fsencode(data)) >= 4096:  # mount(2) takes one page of options, and cuts off the rest in silence
        raise InputError(f"overlay: {len(layers)} layers make {len(data)} bytes of options, above one page", "use shorter paths")
    with paths.pinned(target, root) as place:
        linux.mount("overlay", place, "overlay", Mount(0), data)


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")


@inside("tmpfs(5)", "mount(2)", shell="mount -t tmpfs tmpfs TARGET", engine="docker run --tmpfs TARGET", needs=("mnt",))
def tmpfs(target: str, size: str = "64M", mode: int = 0o1777, root: str = "") -> None:
    """An empty filesystem in memory, at most `size` large, gone with the last process that sees it.  tmpfs(5)"""
    if not size[:1].isdigit() or not size.rstrip("kKmMgG%").isdigit():
        raise InputError(f"{size!r} is not a size", "give bytes, or a number with k, m, g or %: 64M")
    with paths.pinned(target, root) as place:
        linux.mount("tmpfs", place, "tmpfs", Mount.NOSUID | Mount.NODEV, f"size={size},mode={mode:o}")


# -- the root ---------------------------------------------------------------------------------------------------------


@inside("chroot(2)", shell="chroot ROOTFS", engine="never, and for a reason", needs=("mnt",))
def chroot(path: str) -> None:
    """Another directory called /. No wall: a second chroot, below, leaves the process outside its root.  chroot(2)"""
    _check_root(path)
    linux.chroot(path)
    linux.chdir("/")  # or the working directory would still be outside


@inside("pivot_root(2)", shell="pivot_root . . && umount -l .", engine="always, by docker run IMAGE", needs=("mnt",))
def pivot(rootfs: str) -> None:
    """Another root filesystem, and the host's gone from the mount table: no path leads there any more.  pivot_root(2)"""
    _check_root(rootfs)
    if os.path.samefile(rootfs, "/"):
        raise InputError(f"{rootfs} is the root already", "give a directory that holds another root filesystem")
    # pivot_root takes only a mount point; a bind mount of a directory on itself is one.
    linux.mount(rootfs, rootfs, None, Mount.BIND | Mount.REC)
    linux.chdir(rootfs)
    # With the same path twice, the old root is stacked on the new one: no directory must be made to put it in. (NOTES)
    linux.pivot_root(".", ".")
    linux.umount2(".", Umount.DETACH)
    linux.chdir("/")


def _check_root(path: str) -> None:
    if not os.path.isdir(path):
        what = "is not a directory" if os.path.lexists(path) else "does not exist"
        raise InputError(f"the root filesystem {path} {what}", "make one: scratchlab rootfs create PATH --from busybox")


# -- what programs expect to find -------------------------------------------------------------------------------------


@inside("null(4)", "devpts(5)", shell="mount -t tmpfs tmpfs /dev && mknod …", engine="always, by docker run", needs=("mnt",))
def devices(target: str = "/dev", root: str = "") -> list[str]:
    """A /dev with harmless devices and terminals of your own; returns what this kernel refused.  null(4), devpts(5)"""
    with ExitStack() as stack:
        # Held from before a new /dev hides them: where mknod(2) is refused, we need the host's.
        hosts = _open_nodes(stack)
        place = stack.enter_context(paths.pinned(target, root))
        linux.mount("tmpfs", place, "tmpfs", Mount.NOSUID | Mount.STRICTATIME, "mode=755,size=65536k")
        dev = stack.enter_context(paths.pinned(target, root))  # again: only now it leads into the new mount
        makes_nodes = True
        for name in NODES:
            makes_nodes = makes_nodes and _made_node(f"{dev}/{name}", name)
            if not makes_nodes:
                _bind_node(f"{dev}/{name}", name, hosts)
        for name, points_to in LINKS.items():
            linux.symlink(points_to, f"{dev}/{name}")
        return [f"{name}: {refused}" for name in MOUNTS if (refused := _mount_below(dev, name))]


def _open_nodes(stack: ExitStack) -> dict[str, str]:
    hosts = {}
    for name in NODES:
        if os.path.exists(f"/dev/{name}"):
            fd = os.open(f"/dev/{name}", os.O_PATH | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            hosts[name] = f"/proc/self/fd/{fd}"
    return hosts


def _made_node(path: str, name: str) -> bool:
    """Make a device, and say whether that is allowed: in a user namespace it is not."""
    try:
        linux.mknod(path, stat.S_IFCHR | 0o666, os.makedev(*NODES[name]))
        linux.chmod(path, 0o666)
    except KernelError as error:
        if error.errno != errno.EPERM:
            raise
        return False
    return True


def _bind_node(path: str, name: str, hosts: dict[str, str]) -> None:
    if name not in hosts:
        hint = "apply devices before pivot, when the host's can be bound"
        raise StageError(f"/dev/{name} cannot be made in a user namespace", hint)
    linux.mknod(path, stat.S_IFREG | 0o666, 0)
    linux.mount(hosts[name], path, None, Mount.BIND)


def _mount_below(dev: str, name: str) -> str:
    """Mount one of MOUNTS. Gives why it could not be, or ''."""
    fstype, flags, data = MOUNTS[name]
    linux.mkdir(f"{dev}/{name}")
    try:
        linux.mount(fstype, f"{dev}/{name}", fstype, flags, data)
    except KernelError as error:
        if error.errno == errno.EINVAL and data and "gid=5" in data:
            # The group of terminals has no meaning in a user namespace that does not map it.
            linux.mount(fstype, f"{dev}/{name}", fstype, flags, data.replace(",gid=5", ""))
        elif name == "mqueue" and error.errno in (errno.ENODEV, errno.EPERM):
            return str(error)  # not in this kernel, or it belongs to an IPC namespace that is not ours: few programs miss it
        else:
            raise
    return ""


# -- what must not be seen or changed ---------------------------------------------------------------------------------


@inside("mount(2)", shell="mount --bind /dev/null FILE", engine="always, by docker run; not with --privileged", needs=("mnt",))
def mask(*targets: str) -> None:
    """Files that read as empty and directories without entries, where the host would show through.  mount(2)"""
    null = os.stat("/dev/null") if os.path.exists("/dev/null") else None
    if null is None or not stat.S_ISCHR(null.st_mode):
        raise StageError("there is no /dev/null here to cover files with", "apply devices first")
    for target in _existing(targets or MASKED):
        if os.path.isdir(target):
            linux.mount("tmpfs", target, "tmpfs", HARMLESS | Mount.RDONLY, "size=0k")
        else:
            linux.mount("/dev/null", target, None, Mount.BIND)


@inside("mount_setattr(2)", shell="mount -o remount,bind,ro /", engine="docker run --read-only", needs=("mnt",))
def readonly(*targets: str) -> None:
    """Files that nobody in here can change; "/" is the root without what is mounted in it.  mount_setattr(2)"""
    for target in _existing(targets or READONLY):
        if os.path.realpath(target) == "/":
            linux.mount_setattr("/", At(0), MountAttr.RDONLY)
        else:
            linux.mount(target, target, None, Mount.BIND | Mount.REC)
            make_readonly(target)


def _existing(patterns: Sequence[str]) -> list[str]:
    return [path for pattern in patterns for path in _matching(pattern) if os.path.exists(path)]


def _matching(pattern: str) -> list[str]:
    """The paths that a pattern means. Only its one star is special: a path may hold anything else."""
    before, star, after = pattern.partition("*")
    if not star:
        return [pattern]
    directory, prefix = os.path.split(before)
    names = os.listdir(directory) if os.path.isdir(directory) else []
    return [f"{directory}/{name}{after}" for name in sorted(names) if name.startswith(prefix)]


def make_readonly(target: str, root: str = "", recursive: bool = True) -> None:
    """Let nobody in here write to what is mounted at `target`, nor below it if `recursive`.  mount_setattr(2)"""
    # Pinned only now, it leads to what was just mounted. mount(2) with REMOUNT would have to repeat each flag that is set
    # already, and would leave the mounts below writable.
    with paths.pinned(target, root) as place:
        linux.mount_setattr(place, At.RECURSIVE if recursive else At(0), MountAttr.RDONLY)


# -- by the host ------------------------------------------------------------------------------------------------------


@outside("mkdir(2)", shell="mkdir -p ROOTFS/proc ROOTFS/sys ROOTFS/dev", engine="always, by docker run")
def mount_points(target: Target, rootfs: str, *points: str) -> None:
    """Directories to mount on, in a root filesystem that lacks them; with ":file" at the end, an empty file.  mkdir(2)"""
    rootfs = os.path.realpath(rootfs)
    _check_root(rootfs)
    for point in points:
        path, is_file = point.removesuffix(":file"), point.endswith(":file")
        place = paths.resolve(rootfs, path)
        # Each directory on the way, too: all that we made goes with the last container that needs it.
        parts = os.path.relpath(place, rootfs).split("/")
        for end in range(1, len(parts) + 1):
            part = os.path.join(rootfs, *parts[:end])
            directory = end < len(parts) or not is_file
            target.journal.will("mount_point", path=part, directory=directory, holder=target.name)
            hold_mount_point(part, directory, target.name)
