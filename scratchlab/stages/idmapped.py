"""Mounts that translate ids: on disk root's files are 0's, and in a user namespace root is somebody else.  mount_setattr(2)

    on disk      in the mount      to the kernel, for a process in the namespace      as it sees it itself
    0            idmapped          1879048192                                         0

Without the translation, a root filesystem of the host would belong to nobody in there, and root could change nothing in it.
"""

import os
import stat
from pathlib import Path

from scratchlab import linux
from scratchlab.errors import InputError, KernelError, facts
from scratchlab.linux import At, Clone, Mount, MountAttr, MoveMount, OpenTree, paths
from scratchlab.linux.elsewhere import in_namespace
from scratchlab.linux.ledger import look
from scratchlab.linux.syscalls import AT_FDCWD
from scratchlab.stages.filesystem import HARMLESS
from scratchlab.stages.stage import Target, outside


@outside(
    "mount_setattr(2)",
    "open_tree(2)",
    "move_mount(2)",
    shell="mount --bind -o X-mount.idmap=/proc/PID/ns/user SOURCE PLACE",
    engine="podman run --userns auto; --volume SOURCE:PLACE:idmap",
    needs=("user", "mnt"),
)
def idmap(target: Target, source: str, place: str, readonly: bool = False, root: str = "") -> str:
    """A directory of the host, where every owner on disk is the same id in this user namespace.  mount_setattr(2)

    The host makes the mount, because it must hold power over the filesystem, and attaches it in the process's mount namespace.
    Where the filesystem cannot translate, it is mounted as it is, and the answer says so.
    """
    if not os.path.exists(source):
        raise InputError(f"{source} does not exist, so it cannot be mounted at {place}", f"make it first: mkdir -p {source}")
    tree = linux.open_tree(AT_FDCWD, source, OpenTree.CLONE | OpenTree.RECURSIVE | OpenTree.CLOEXEC)
    try:
        why = _translate(tree, source, target.pid)
        attributes = MountAttr.RDONLY if readonly else MountAttr(0)
        linux.mount_setattr("", At.EMPTY_PATH | At.RECURSIVE, attributes, Mount.PRIVATE, dirfd=tree)
        in_namespace(f"/proc/{target.pid}/ns/mnt", Clone.NEWNS, lambda: _attach(tree, place, root))
    finally:
        os.close(tree)
    return why


def _translate(tree: int, source: str, pid: int) -> str:
    """Translate ids in a mount that is attached nowhere yet. Gives why it cannot be, or ''."""
    path = f"/proc/{pid}/ns/user"
    namespace = look("open", {"pathname": path}, lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    try:
        linux.mount_setattr("", At.EMPTY_PATH | At.RECURSIVE, MountAttr.IDMAP, userns_fd=namespace, dirfd=tree)
        return ""
    except KernelError as error:
        if KernelError.symbol(error.errno or 0) not in ("EINVAL", "ENOSYS", "EPERM"):
            raise
        mounted = facts.mount_of(source)
        filesystem = mounted.fstype if mounted else "a filesystem"
        return (
            f"{source} is on {filesystem}, whose ids this kernel does not translate (mount_setattr: "
            f"{KernelError.symbol(error.errno or 0)}): in it, files belong to nobody, and root inside can change only what "
            "everybody can; put it on ext4, xfs, btrfs or tmpfs, or leave out --userns"
        )
    finally:
        os.close(namespace)


def _attach(tree: int, place: str, root: str) -> None:
    if not root:
        with paths.pinned(place):  # or it is not there at all
            _make_reachable(place)
    with paths.pinned(place, root) as there:
        one, other = (stat.S_ISDIR(mode) for mode in (os.fstat(tree).st_mode, os.stat(there).st_mode))
        if one != other:
            raise InputError(f"one of source and {place} is a directory, and the other is not", "mount like on like")
        linux.move_mount(tree, "", AT_FDCWD, there, MoveMount.F_EMPTY_PATH | MoveMount.T_SYMLINKS)


def _make_reachable(place: str) -> None:
    """Let everybody pass on the way to a place, in this mount namespace only: an empty directory covers what is closed.

    The namespace's root is an ordinary user to the kernel, and may not pass through a /root that is root's alone.
    """
    above = list(reversed(Path(place).parents))
    closed = next((number for number, path in enumerate(above) if not path.stat().st_mode & stat.S_IXOTH), None)
    if closed is None:
        return
    linux.mount("tmpfs", str(above[closed]), "tmpfs", HARMLESS, "mode=755,size=64k")
    for path in [*above[closed + 1 :], Path(place)]:
        linux.mkdir(str(path))
        linux.chmod(str(path), 0o755)  # whatever the umask
