"""/proc and /sys: files that the kernel makes up, of what the namespaces of the mounting process show.  proc(5), sysfs(5)

In a user namespace, the kernel mounts a new one only while the old one is in sight, whole: else what somebody has covered there
could be seen again. So these stages come before `pivot`, with the new root as `root`.
"""

import errno
import os

from scratchlab import linux
from scratchlab.errors import KernelError, facts
from scratchlab.linux import Mount, paths
from scratchlab.stages.filesystem import HARMLESS, make_readonly
from scratchlab.stages.stage import inside


@inside("proc(5)", "mount(2)", shell="mount -t proc proc /proc", engine="always, by docker run", needs=("mnt",))
def proc(target: str = "/proc", root: str = "") -> None:
    """The processes of this pid namespace, as files.  proc(5)"""
    with paths.pinned(target, root) as place:
        try:
            linux.mount("proc", place, "proc", HARMLESS)
        except KernelError as error:
            raise _too_revealing(error, "/proc") from None


@inside("sysfs(5)", "mount(2)", shell="mount -t sysfs -o ro sysfs /sys", engine="always, by docker run", needs=("mnt",))
def sysfs(target: str = "/sys", readonly: bool = True, root: str = "") -> str:
    """The machine's devices as files, and of the network links only those of this namespace.  sysfs(5)

    In a user namespace the kernel may refuse: then it is the view that is here already, and the answer says so.
    """
    with paths.pinned(target, root) as place:
        try:
            linux.mount("sysfs", place, "sysfs", HARMLESS | (Mount.RDONLY if readonly else Mount(0)))
            return ""
        except KernelError as error:
            if error.errno != errno.EPERM or not os.path.isdir("/sys"):
                raise
            why = ", ".join(_covers("/sys")) or error.strerror
        linux.mount("/sys", place, None, Mount.BIND | Mount.REC)
    if readonly:
        make_readonly(target, root)
    return (
        f"/sys is the one outside, with the links of another network, because a new one is refused where parts are covered: {why}"
    )


def _too_revealing(error: KernelError, where: str) -> KernelError:
    """The same error with what keeps a user namespace from a new mount.  mount_too_revealing() in the kernel's fs/namespace.c"""
    if error.errno != errno.EPERM:
        return error
    rule = f"a user namespace gets a new {where} only where one is mounted that can be seen whole"
    if where not in _mounted():
        hint = f'{rule}, and here is none: apply {error.arguments["source"].strip(chr(34))} before pivot, with root="ROOTFS"'
        return KernelError(error.call, error.arguments, errno.EPERM, hint)
    if covers := _covers(where):
        hint = (
            f"{rule}, and this covers parts of it: {', '.join(covers[:3])} (check: findmnt -R {where}); around this, "
            "docker run --security-opt systempaths=unconfined, or scratchlab run --without mask --without readonly; "
            f"or go without it: --without {error.arguments['source'].strip(chr(34))}"
        )
        return KernelError(error.call, error.arguments, errno.EPERM, hint)
    return error


def _covers(where: str) -> list[str]:
    """What is mounted on parts of it. Below /sys/fs the kernel itself keeps empty directories to mount on."""
    return [target for target in _mounted() if target.startswith(f"{where}/") and not target.startswith("/sys/fs/")]


def _mounted() -> list[str]:
    return [mount.target for mount in facts.mounts()]
