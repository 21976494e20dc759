"""Mounts, roots and devices: what builds a container's filesystem.  mount(2)"""

import errno
import os

from scratchlab import linux, stages
from scratchlab.doctor.attempt import Attempt, apart, child_of, ordinary, own_user_namespace, scratch, settled
from scratchlab.errors import HostError, ScratchlabError
from scratchlab.linux import Clone, Resolve

_NO_MOUNT = "use sudo; or let ordinary users make user namespaces (see above)"


def _make(*directories: str) -> None:
    for directory in directories:
        os.makedirs(directory, exist_ok=True)


def _bind() -> None:
    here = scratch()
    _make(f"{here}/source", f"{here}/target")
    stages.bind(f"{here}/source", f"{here}/target", readonly=True)
    try:
        linux.mkdir(f"{here}/target/new")
    except OSError:
        return
    raise ScratchlabError("a bind mount that was made read-only can be written to")


def _mask() -> None:
    here = scratch()
    _make(f"{here}/secret/below")
    stages.mask(f"{here}/secret")
    stages.readonly(here)
    if os.listdir(f"{here}/secret"):
        raise ScratchlabError("a masked directory still shows what it held")


def _openat2() -> None:
    here = scratch()
    os.symlink("/etc", f"{here}/link")
    root = os.open(here, os.O_PATH | os.O_DIRECTORY)
    try:
        linux.openat2(root, "link/hostname", os.O_PATH, resolve=Resolve.IN_ROOT)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return
    raise ScratchlabError("openat2(2) let a symbolic link lead out of its root")


def _pivot() -> None:
    here = scratch()
    _make(f"{here}/rootfs")
    stages.pivot(f"{here}/rootfs")
    if os.listdir("/"):
        raise ScratchlabError("the old root can still be seen after pivot_root(2)")


def _chroot() -> None:
    here = scratch()
    _make(f"{here}/rootfs")
    stages.chroot(f"{here}/rootfs")


def _overlay() -> None:
    here = scratch()
    _make(f"{here}/lower", f"{here}/upper", f"{here}/work", f"{here}/merged")
    with open(f"{here}/lower/file", "w"):
        pass
    stages.overlay(f"{here}/lower", f"{here}/upper", f"{here}/work", f"{here}/merged")
    os.unlink(f"{here}/merged/file")


def _overlay_as_ordinary() -> None:
    ordinary()
    own_user_namespace()
    _overlay()


def _proc() -> None:
    apart(Clone.NEWPID)
    here = scratch()
    child_of(lambda: stages.proc(here))


def _sysfs() -> None:
    apart(Clone.NEWNET)
    stages.sysfs(scratch())


def _devices() -> None:
    """The whole /dev of a container: nodes made, or the host's bound where this user may make none."""
    here = scratch()
    _make(f"{here}/dev")
    stages.devices(f"{here}/dev")
    os.close(os.open(f"{here}/dev/null", os.O_WRONLY))


def _nodes() -> None:
    here = scratch()
    linux.mknod(f"{here}/null", 0o020666, os.makedev(1, 3))
    os.close(os.open(f"{here}/null", os.O_WRONLY))


def _queues() -> None:
    apart(Clone.NEWIPC)
    linux.mount("mqueue", scratch(), "mqueue")


def _idmap() -> None:
    here = scratch()
    _make(f"{here}/source", f"{here}/place")
    with settled(lambda: own_user_namespace(Clone.NEWNS)) as target:
        if why := stages.idmap(target, f"{here}/source", f"{here}/place"):
            raise HostError(why)


def _resolv() -> None:
    here = scratch()
    _make(f"{here}/root/etc")
    with open(f"{here}/root/etc/resolv.conf", "w"):
        pass
    stages.resolv(("192.0.2.1",), f"{here}/root")


_UNMASKED = "in a container, its engine covers parts of it: ask for a container without that"

ATTEMPTS = [
    Attempt("tmpfs", scratch, ("tmpfs", "devices"), (3,), _NO_MOUNT),
    Attempt("bind mounts, read-only", _bind, ("bind", "readonly", "mount_points"), (3,), "Linux 5.12 or newer: mount_setattr(2)"),
    Attempt("masked and read-only paths", _mask, ("mask", "readonly"), (15,), _NO_MOUNT),
    Attempt(
        "paths that no link leads out of", _openat2, ("bind", "overlay", "proc", "sysfs", "mount_points"), (4,),
        "Linux 5.6 or newer: openat2(2)",
    ),
    Attempt("pivot_root", _pivot, ("pivot",), (4,), "in a chroot or an initramfs it cannot work: use a virtual machine"),
    Attempt("chroot", _chroot, ("chroot",), (2,), _NO_MOUNT),
    Attempt("overlay", _overlay, ("overlay",), (5,), "as root: modprobe overlay; for ordinary users Linux 5.11 or newer"),
    Attempt(
        "overlay without root", _overlay_as_ordinary, ("overlay",), (5, 8), "Linux 5.11 or newer; or lesson 5 as root",
        needed=False,
    ),
    Attempt("/proc of a pid namespace", _proc, ("proc",), (7, 15), _UNMASKED),
    Attempt("/sys of a network namespace", _sysfs, ("sysfs",), (9, 15), _UNMASKED),
    Attempt("/dev of a container", _devices, ("devices",), (16,), "needs the host's /dev/null and its like, to be bound"),
    Attempt("device nodes", _nodes, ("devices",), (8, 16), "the host's nodes are bound instead", needed=False),
    Attempt(
        "POSIX message queues", _queues, ("devices", "unshare_ipc"), (6,), "few programs miss /dev/mqueue", needed=False,
    ),
    Attempt(
        "id-mapped mounts", _idmap, ("idmap",), (8,),
        "needs root, and Linux 6.3 or newer for tmpfs; without it, files of --userns auto belong to nobody", needed=False,
    ),
    Attempt("name servers of a container", _resolv, ("resolv",), (16,), _NO_MOUNT),
]  # fmt: skip
