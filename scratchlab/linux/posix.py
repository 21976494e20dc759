"""The calls that Python has already, made through the same choke point, so that they are in the ledger too."""

import errno
import fcntl
import os
import resource
import socket
import struct
from collections.abc import Sequence

from scratchlab.linux.flags import InterfaceFlag
from scratchlab.linux.ledger import Bare, record

_SIOCSIFFLAGS = 0x8914  # the same on all machines


def chroot(path: str) -> None:
    """Make `path` the root directory of this process; what is open stays open.  chroot(2)"""
    record("chroot", {"path": path}, lambda: os.chroot(path))


def chdir(path: str) -> None:
    """Move to another working directory.  chdir(2)"""
    record("chdir", {"path": path}, lambda: os.chdir(path))


def fchdir(fd: int) -> None:
    """Move to the directory behind `fd`.  fchdir(2)"""
    record("fchdir", {"fd": fd}, lambda: os.fchdir(fd))


def mkdir(path: str, mode: int = 0o755) -> None:
    """Make a directory.  mkdir(2)"""
    record("mkdir", {"path": path, "mode": Bare(oct(mode))}, lambda: os.mkdir(path, mode))


def mknod(path: str, mode: int, dev: int) -> None:
    """Make a file, a device node or a pipe.  mknod(2)"""
    shown = {"path": path, "mode": Bare(oct(mode)), "dev": Bare(f"{os.major(dev)}:{os.minor(dev)}")}
    record("mknod", shown, lambda: os.mknod(path, mode, dev))


def symlink(target: str, linkpath: str) -> None:
    """Make a symbolic link.  symlink(2)"""
    record("symlink", {"target": target, "linkpath": linkpath}, lambda: os.symlink(target, linkpath))


def chmod(path: str, mode: int) -> None:
    """Set the permission bits; mkdir and mknod are cut by the umask.  chmod(2)"""
    record("chmod", {"path": path, "mode": Bare(oct(mode))}, lambda: os.chmod(path, mode))


def setgroups(groups: Sequence[int]) -> None:
    """Replace the supplementary groups.  setgroups(2)"""
    record("setgroups", {"list": Bare(list(groups))}, lambda: os.setgroups(groups))


def setresgid(rgid: int, egid: int, sgid: int) -> None:
    """Change the real, effective and saved group.  setresgid(2)"""
    record("setresgid", {"rgid": rgid, "egid": egid, "sgid": sgid}, lambda: os.setresgid(rgid, egid, sgid))


def setresuid(ruid: int, euid: int, suid: int) -> None:
    """Change the real, effective and saved user.  setresuid(2)"""
    record("setresuid", {"ruid": ruid, "euid": euid, "suid": suid}, lambda: os.setresuid(ruid, euid, suid))


def setrlimit(which: str, soft: int, hard: int) -> None:
    """Set one resource limit, by its manual name such as RLIMIT_NOFILE.  setrlimit(2)"""
    limit = getattr(resource, which)

    def act() -> None:
        try:
            resource.setrlimit(limit, (soft, hard))
        except ValueError:
            # Python hides the two usual errnos behind ValueError; the manual page tells them apart like this.
            above = hard != resource.RLIM_INFINITY and (soft > hard or soft == resource.RLIM_INFINITY)
            number = errno.EINVAL if above else errno.EPERM
            raise OSError(number, which) from None

    record("setrlimit", {"resource": Bare(which), "soft": soft, "hard": hard}, act)


def pidfd_open(pid: int) -> int:
    """A file descriptor for a process: it can never come to mean another one.  pidfd_open(2)"""
    return record("pidfd_open", {"pid": pid}, lambda: os.pidfd_open(pid))


def set_flags(name: str, flags: InterfaceFlag) -> None:
    """Set the flags of a network interface, and clear those not named: UP switches it on.  netdevice(7), ioctl(2)"""
    request = struct.pack("16sh14x", name.encode(), flags)  # struct ifreq

    def act() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)

    record("ioctl", {"op": Bare("SIOCSIFFLAGS"), "ifr_name": name, "ifr_flags": flags}, act)


def fork() -> int:
    """Split in two: 0 in the child, the child's pid in the parent.  fork(2)"""
    return record("fork", {}, os.fork)


def write_file(path: str, text: str) -> None:
    """Write `text` to an existing file with a single write(2), as the files of /proc and control groups want it."""

    def act() -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    record("write", {"file": path, "text": text}, act)
