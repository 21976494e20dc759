"""Files that exist: whose permission is missing, what the mount forbids, what is full, and who else uses them."""

import fcntl
import os
import resource
import stat
import struct

from scratchlab.errors import facts
from scratchlab.errors.cause import Asked, Cause
from scratchlab.errors.causes.privilege import missing

_GETFLAGS, _IMMUTABLE, _APPEND_ONLY = 0x80086601, 0x10, 0x20  # FS_IOC_GETFLAGS and its bits.  ioctl_iflags(2)


# -- EACCES -----------------------------------------------------------------------------------------------------------


def closed_directory(asked: Asked) -> Cause | None:
    """A directory on the way that may not be searched."""
    for path in asked.paths():
        at = 0
        while (at := path.find("/", at + 1)) > 0:
            if os.path.isdir(path[:at]) and not _may(path[:at], os.X_OK):
                return Cause(
                    f"{_described(path[:at])} may not be searched by {facts.who()}: it lacks x",
                    f"namei -l {path}",
                    "path_resolution(7)",
                )
    return None


def _may(path: str, mode: int) -> bool:
    return os.access(path, mode, effective_ids=True)


def _described(path: str) -> str:
    found = os.stat(path)
    return f"{path} ({stat.filemode(found.st_mode)}, of user {found.st_uid}, group {found.st_gid})"


def closed_file(asked: Asked) -> Cause | None:
    """A file whose bits do not allow what was asked, or a directory where nothing may be made."""
    for path in asked.paths():
        makes = asked.call in _MAKES
        place = (os.path.dirname(path.rstrip("/")) or ".") if makes else path
        for mode, word in ((os.R_OK, "read"), (os.W_OK, "written")):
            if os.path.exists(place) and mode in _wanted(asked) and not _may(place, mode):
                return Cause(f"{_described(place)} may not be {word} by {facts.who()}", f"ls -ld {place}", "path_resolution(7)")
    return None


def shut_by_another_rule(asked: Asked) -> Cause | None:
    """A file that its bits would let us have: so Landlock or a security module refuses."""
    for path in asked.paths():
        if os.path.exists(path) and all(_may(path, mode) for mode in _wanted(asked)):
            return Cause(
                f"{_described(path)} is open to {facts.who()} by its mode, so Landlock or a security module keeps it shut",
                "cat /sys/kernel/security/lsm",
                "landlock(7)",
            )
    return None


_MAKES = ("mkdir", "mknod", "symlink", "link", "rename", "unlink", "rmdir")


def _wanted(asked: Asked) -> tuple[int, ...]:
    if asked.call in (*_MAKES, "write", "truncate"):
        return (os.W_OK,)
    if asked.call != "open":
        return (os.R_OK, os.W_OK)
    return {os.O_RDONLY: (os.R_OK,), os.O_WRONLY: (os.W_OK,)}.get(_flags(asked) & os.O_ACCMODE, (os.R_OK, os.W_OK))


def _flags(asked: Asked) -> int:
    try:
        return asked.number("flags")
    except ValueError:
        return os.O_RDONLY


def mount_forbids_devices(asked: Asked) -> Cause | None:
    """A device node on a mount with nodev is only a name."""
    for path in asked.paths():
        if os.path.exists(path) and stat.S_IFMT(os.stat(path).st_mode) in (stat.S_IFCHR, stat.S_IFBLK):
            place = facts.mount_of(path)
            if place and "nodev" in [*place.options, *place.super_options]:
                return Cause(f"{path} is a device, and {place.target} is mounted with nodev", f"findmnt -T {path}", "mount(8)")
    return None


# -- EROFS, EPERM -----------------------------------------------------------------------------------------------------


def read_only(asked: Asked) -> Cause | None:
    """Which mount is read-only: the mount alone, or the filesystem."""
    for path in asked.paths():
        place = facts.mount_of(path)
        if place and "ro" in place.options:
            return Cause(f"{place.target} ({place.fstype}) is mounted read-only here", f"findmnt -T {path}", "mount(8)")
        if place and "ro" in place.super_options:
            return Cause(
                f"the filesystem at {place.target} ({place.fstype}) is read-only, for all its mounts",
                f"findmnt -T {path}",
                "mount(8)",
            )
    return None


def immutable(asked: Asked) -> Cause | None:
    """A file or directory that nobody may change, root neither."""
    for path in asked.paths():
        for each in (path, os.path.dirname(path)):
            flags = _inode_flags(each)
            if flags & (_IMMUTABLE | _APPEND_ONLY):
                word = "immutable" if flags & _IMMUTABLE else "append-only"
                return Cause(f"{each} is {word}, for root too: chattr takes it off", f"lsattr -d {each}", "ioctl_iflags(2)")
    return None


def _inode_flags(path: str) -> int:
    if not (os.path.isfile(path) or os.path.isdir(path)):  # to open a device may do something
        return 0
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return int(struct.unpack("l", fcntl.ioctl(fd, _GETFLAGS, b"\0" * struct.calcsize("l")))[0])
    except OSError:
        return 0  # this filesystem has none
    finally:
        os.close(fd)


def not_the_owner(asked: Asked) -> Cause | None:
    """chmod and chown: a file belongs to its owner."""
    path = next(iter(asked.paths()), "")
    capability = "CAP_FOWNER" if asked.call == "chmod" else "CAP_CHOWN"
    if not os.path.exists(path) or facts.has_capability(capability):
        return None
    said = missing(capability, capability)
    return Cause(
        f"{_described(path)} is not of user {os.geteuid()}, or shall get another owner. {said.why}",
        f"ls -ld {path}",
        f"{asked.call}(2)",
    )


# -- what is full, or too many ----------------------------------------------------------------------------------------


def full_filesystem(asked: Asked) -> Cause | None:
    """ENOSPC: no blocks, or no inodes."""
    for path in asked.paths():
        place = facts.mount_of(path)
        if place is None:
            continue
        room = os.statvfs(place.target)
        size = f"{place.target} ({place.fstype}"
        if room.f_blocks and not room.f_bavail:
            return Cause(f"{size}, {room.f_blocks * room.f_frsize} bytes) is full", f"df -h {place.target}")
        if room.f_files and not room.f_favail:
            return Cause(f"{size}, {room.f_files} files) has no inode left for one more file", f"df -i {place.target}")
    return None


def too_many_open(_asked: Asked) -> Cause | None:
    """EMFILE: the limit of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Cause(
        f"this process may have {soft} files open (hard limit {hard}), and has as many",
        "ulimit -n; ls /proc/self/fd | wc -l",
        "getrlimit(2)",
    )


def machine_out_of_files(_asked: Asked) -> Cause | None:
    """ENFILE: the limit of the machine."""
    used = facts.sysctl("fs.file-nr").split()
    return Cause(f"the machine may have {used[2]} files open, and has {used[0]}", "sysctl fs.file-nr") if len(used) == 3 else None


def file_too_large(_asked: Asked) -> Cause | None:
    """EFBIG: the limit on the size of a file."""
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft == resource.RLIM_INFINITY:
        return None
    return Cause(f"no file may grow above {soft} bytes here: RLIMIT_FSIZE", "ulimit -f", "getrlimit(2)")


def no_such_device(asked: Asked) -> Cause | None:
    """ENXIO: a node without anything behind it."""
    for path in asked.paths():
        mode = os.stat(path).st_mode if os.path.exists(path) else 0
        if stat.S_ISFIFO(mode):
            return Cause(f"{path} is a pipe that nobody has open for reading", f"fuser -v {path}", "fifo(7)")
        if stat.S_ISSOCK(mode):
            return Cause(f"{path} is a socket: connect(2) reaches it, open(2) does not", f"ls -l {path}", "unix(7)")
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            number = os.stat(path).st_rdev
            return Cause(f"no driver answers for device {os.major(number)}:{os.minor(number)}", "cat /proc/devices", "mknod(2)")
    return None


# -- who else uses it -------------------------------------------------------------------------------------------------


def text_busy(asked: Asked) -> Cause | None:
    """ETXTBSY: a file is run and written at the same time."""
    for path in asked.paths():
        real = os.path.realpath(path)
        if asked.call == "execve":
            users = facts.using(lambda link, real=real: link == real, ("fd",))  # type: ignore[misc]
            return Cause(f"{path} is open for writing: {_list(users)}", f"fuser -v {path}", "execve(2)")
        users = facts.using(lambda link, real=real: link == real, ("exe",))  # type: ignore[misc]
        return Cause(f"{path} is being run, and cannot be written meanwhile: {_list(users)}", f"fuser -v {path}", "open(2)")
    return None


def _list(users: list[str]) -> str:
    return "; ".join(users[:5]) or "by nobody who can be seen from here"


def busy_directory(asked: Asked) -> Cause | None:
    """EBUSY from rmdir, unlink and rename: something is mounted there."""
    for path in asked.paths():
        here = [path] if facts.is_mount_point(path) else facts.mounted_below(path)
        if here:
            return Cause(f"something is mounted there: {', '.join(here[:5])}", f"findmnt -R {path}", f"{asked.call}(2)")
    return None
