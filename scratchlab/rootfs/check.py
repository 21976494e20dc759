"""Can this root filesystem run that command? Found out before the container is made, where the reason can still be told.

Every path is walked *inside*: a link to /usr/bin/python3 means the container's, never the host's. That is one flag of
openat2(2), RESOLVE_IN_ROOT, and doing it by hand is a known way to write a hole.
"""

import errno
import os
import stat

from scratchlab.errors import InputError, KernelError
from scratchlab.linux.paths import open_inside
from scratchlab.rootfs.executable import DEEPEST_SCRIPT, read_executable, runs_here

# Where a container looks for a command that has no slash in its name, unless it is told otherwise.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CommandError(InputError):
    """The command cannot run in this root filesystem; `status` is what a shell would exit with."""

    status: int


class CommandNotFoundError(CommandError):
    """There is no such file."""

    status = 127


class CommandNotExecutableError(CommandError):
    """The file is there, but the kernel will not run it."""

    status = 126


def check_rootfs(path: str | os.PathLike[str], command: str | None = None, search: str = PATH, workdir: str = "/") -> str:
    """Make sure that `path` is a root filesystem, and that `command` can run in it. Gives the command's path inside.

    Raises InputError; for the command CommandNotFoundError or CommandNotExecutableError.
    """
    root = _open_root(os.fspath(path))
    try:
        return _find(root, os.fspath(path), command, search, workdir) if command is not None else ""
    finally:
        os.close(root)


def _open_root(path: str) -> int:
    make = f"make one: scratchlab rootfs create {path or 'PATH'} --from busybox"
    try:
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InputError(f"there is no root filesystem at {path!r}", make) from None
    except NotADirectoryError:
        raise InputError(
            f"{path} is not a directory, and a root filesystem is one", "unpack it first, if it is an archive"
        ) from None
    except OSError as error:
        raise InputError(f"the root filesystem {path} cannot be opened: {error.strerror}", f"check: ls -ld {path}") from None
    try:
        _refuse_host(root, path)
        if not os.listdir(root):
            raise InputError(f"the root filesystem {path} is empty", f"remove it with rmdir, and {make}")
    except InputError:
        os.close(root)
        raise
    return root


def _refuse_host(root: int, path: str) -> None:
    # The same device and inode is the same directory, by whatever path or bind mount one came to it.
    if os.path.samestat(os.fstat(root), os.stat("/")):
        raise InputError(
            f"{path} is this machine's own root: the container would work on the host's files",
            "make a copy of what it needs: scratchlab rootfs create PATH --from host bash ls",
        )


def _find(root: int, rootfs: str, command: str, search: str, workdir: str) -> str:
    if "/" in command:
        candidates = [os.path.join(workdir, command)]
    else:
        candidates = [f"{directory}/{command}" for directory in search.split(":") if directory and command]
    first: CommandError | None = None
    for candidate in filter(lambda name: _is_there(root, name), candidates):
        try:
            _check_program(root, candidate)
            return candidate
        except CommandError as error:
            first = first or error  # a later directory of PATH may have one that works: execvp(3) tries them all
    raise first or CommandNotFoundError(f"there is no {command!r} in {rootfs}", _found_instead(root, command, search))


def _is_there(root: int, path: str) -> bool:
    try:
        os.close(open_inside(root, path, os.O_PATH | os.O_NOFOLLOW))
    except KernelError:
        return False
    return True


def _check_program(root: int, path: str, used_by: str = "", depth: int = 0) -> None:
    """Raise CommandError unless `execve(path)` would start something in this root."""
    if depth > DEEPEST_SCRIPT:
        raise CommandNotExecutableError(f"{used_by} is run by more than {DEEPEST_SCRIPT} scripts, one by the other")
    shown = f"{path}, which {used_by} needs," if used_by else path
    try:
        fd = open_inside(root, path, os.O_RDONLY | os.O_NONBLOCK)  # no waiting for the other end of a pipe
    except KernelError as error:
        raise _unopened(root, path, shown, error, bool(used_by)) from None
    try:
        _check_file(fd, shown)
        what = read_executable(fd)
    finally:
        os.close(fd)
    if not what.kind:
        raise CommandNotExecutableError(
            f"{shown} is not a program: it starts neither with an ELF header nor with #!", "check: file " + path
        )
    if what.machine and not runs_here(what.machine):
        raise CommandNotExecutableError(
            f"{shown} is for {what.machine}; this machine is {os.uname().machine}", "use another root filesystem"
        )
    if what.interpreter:
        _check_program(root, what.interpreter, used_by or path, depth + 1)


def _check_file(fd: int, shown: str) -> None:
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        raise CommandNotExecutableError(f"{shown} is {'a directory' if stat.S_ISDIR(mode) else 'not a file'}, not a program")
    if not mode & 0o111:
        raise CommandNotExecutableError(
            f"{shown} may not be executed by anybody: its mode is {stat.filemode(mode)}", "chmod +x it"
        )
    if os.fstatvfs(fd).f_flag & os.ST_NOEXEC:
        raise CommandNotExecutableError(
            f"{shown} lies on a filesystem that is mounted noexec", "check: findmnt -T, and its options"
        )


def _unopened(root: int, path: str, shown: str, error: KernelError, second: bool) -> CommandError:
    if error.errno == errno.EACCES:
        return CommandNotExecutableError(f"{shown} may not be read by you", "use sudo")
    if _is_there(root, path):
        return CommandNotFoundError(
            f"{shown} is a symbolic link that leads nowhere in the root filesystem", f"check there: ls -l {path}"
        )
    if second:
        return CommandNotExecutableError(
            f"{shown} is not in the root filesystem",
            "execve(2) would say `No such file or directory` of the command itself. A program needs its loader, a script its "
            "interpreter: `scratchlab rootfs create PATH --from host …` brings them along",
        )
    return CommandNotFoundError(f"{shown} is not in the root filesystem")


def _found_instead(root: int, command: str, search: str) -> str:
    """The programs that there are: all of a few, of many those with a similar name."""
    import difflib

    programs: set[str] = set()
    for directory in search.split(":"):
        try:
            fd = open_inside(root, directory, os.O_RDONLY | os.O_DIRECTORY)
        except KernelError:
            continue
        programs.update(os.listdir(fd))
        os.close(fd)
    if not programs:
        return f"scratchlab found no program at all in {search}"
    named = sorted(programs) if len(programs) <= 15 else difflib.get_close_matches(os.path.basename(command), sorted(programs), 8)
    return (
        f"scratchlab found these instead: {', '.join(named)}" if named else f"scratchlab found {len(programs)} others in {search}"
    )
