"""Which system call a function of Python makes, and which call it was that raised an OSError.

A traceback's innermost frame says where in the bytecode it stopped, and code objects say which characters of the source
that is (PEP 657). So the very call on the line is known, not just the line; without the source, its name still is.
"""

import ast
import dis
import linecache
from collections.abc import Mapping
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any, NamedTuple

# A function by its module or class and name → the system call, and its arguments in order, by the manual page's names.
CALLS: dict[str, tuple[str, str]] = {
    "io.open": ("open", "pathname"), "os.open": ("open", "pathname flags"), "os.mkdir": ("mkdir", "path mode"),
    "os.makedirs": ("mkdir", "path"), "os.rmdir": ("rmdir", "path"), "os.unlink": ("unlink", "path"),
    "os.remove": ("unlink", "path"), "os.rename": ("rename", "oldpath newpath"), "os.replace": ("rename", "oldpath newpath"),
    "os.link": ("link", "oldpath newpath"), "os.symlink": ("symlink", "target linkpath"), "os.chmod": ("chmod", "path mode"),
    "os.chown": ("chown", "path owner group"), "os.chdir": ("chdir", "path"), "os.chroot": ("chroot", "path"),
    "os.fchdir": ("fchdir", "fd"), "os.mknod": ("mknod", "path mode dev"), "os.mkfifo": ("mknod", "path mode"),
    "os.stat": ("stat", "path"), "os.lstat": ("stat", "path"), "os.listdir": ("open", "pathname"),
    "os.scandir": ("open", "pathname"), "os.readlink": ("readlink", "path"), "os.truncate": ("truncate", "path length"),
    "os.statvfs": ("statfs", "path"), "os.utime": ("utimensat", "path"), "os.access": ("access", "path"),
    "os.execv": ("execve", "pathname"), "os.execve": ("execve", "pathname"), "os.posix_spawn": ("execve", "pathname"),
    "os.fork": ("fork", ""), "os.forkpty": ("fork", ""), "_posixsubprocess.fork_exec": ("fork", ""),
    "os.kill": ("kill", "pid sig"), "os.killpg": ("kill", "pgrp sig"), "signal.pthread_kill": ("kill", "tid sig"),
    "os.pidfd_open": ("pidfd_open", "pid flags"), "os.waitpid": ("waitpid", "pid options"), "os.nice": ("setpriority", "inc"),
    "os.setuid": ("setresuid", "ruid"), "os.seteuid": ("setresuid", "euid"), "os.setreuid": ("setresuid", "ruid euid"),
    "os.setresuid": ("setresuid", "ruid euid suid"), "os.setgid": ("setresgid", "rgid"), "os.setegid": ("setresgid", "egid"),
    "os.setregid": ("setresgid", "rgid egid"), "os.setresgid": ("setresgid", "rgid egid sgid"),
    "os.setgroups": ("setgroups", "list"), "os.initgroups": ("setgroups", "user"),
    "os.setpriority": ("setpriority", "which who prio"), "os.sched_setaffinity": ("sched_setaffinity", "pid mask"),
    "os.unshare": ("unshare", "flags"), "os.setns": ("setns", "fd nstype"),
    "os.read": ("read", "fd count"), "os.write": ("write", "fd buf"), "os.pipe": ("pipe", ""), "os.dup": ("dup", "oldfd"),
    "os.dup2": ("dup2", "oldfd newfd"), "os.close": ("close", "fd"), "mmap.mmap": ("mmap", "fd length"),
    "fcntl.ioctl": ("ioctl", "fd op"), "fcntl.fcntl": ("fcntl", "fd op"), "fcntl.flock": ("flock", "fd op"),
    "resource.setrlimit": ("setrlimit", "resource"), "time.clock_settime": ("clock_settime", "clockid"),
    "socket.sethostname": ("sethostname", "name"), "socket.socket": ("socket", "domain type protocol"),
    "socket.bind": ("bind", "addr"), "socket.connect": ("connect", "addr"), "socket.listen": ("listen", "backlog"),
    "socket.accept": ("accept", ""), "socket._accept": ("accept", ""), "socket.send": ("send", "buf"),
    "socket.recv": ("recv", "len"),
    "socket.sendto": ("sendto", "buf"), "socket.setsockopt": ("setsockopt", "level optname optval"),
    "socket.socketpair": ("socketpair", ""),
}  # fmt: skip

_HOMES = {"posix": "os", "_io": "io", "builtins": "io", "_socket": "socket", "_signal": "signal", "_fcntl": "fcntl"}
_UNKNOWN = object()  # an argument that only running the program again could tell


class Made(NamedTuple):
    """A call that a program made."""

    name: str  # as Python names it: os.mkdir
    call: str  # the system call behind it, '' if we do not know it
    arguments: Mapping[str, object]  # by the manual page's names, as far as they can be told


def made_by(traceback: TracebackType | None) -> Made | None:
    """The call that raised, as the innermost frame of a traceback tells; None where it was no call."""
    if traceback is None:
        return None
    while traceback.tb_next:
        traceback = traceback.tb_next
    frame, at = traceback.tb_frame, traceback.tb_lasti
    if frame.f_code.co_name == "_execute_child":  # of subprocess, which raises what the child said
        cwd = frame.f_locals.get("cwd")
        return Made("subprocess", "chdir" if cwd and frame.f_locals.get("err_filename") == cwd else "execve", {})
    place = list(frame.f_code.co_positions())[at // 2]
    names = _called(frame.f_code, place)
    if not names:
        return None
    name = _qualified(frame, names)
    call, words = CALLS.get(name, ("", ""))
    values = _arguments(frame, place)
    known = {word: value for word, value in zip(words.split(), values, strict=False) if value is not _UNKNOWN}
    return Made(name, call, known)


Place = tuple[int | None, int | None, int | None, int | None]  # first line, last line, first column, last column


def _called(code: CodeType, place: Place) -> list[str]:
    """The names that lead to what is called: those loaded where the call begins. `os.mkdir(…)` → os, mkdir."""
    found = []
    for instruction in dis.get_instructions(code):
        where = instruction.positions
        starts = where is not None and (where.lineno, where.col_offset) == (place[0], place[2])
        if starts and instruction.opname.startswith("LOAD_") and isinstance(instruction.argval, str):
            found.append(instruction.argval)
    return found if place[0] is not None else []


def _qualified(frame: FrameType, names: list[str]) -> str:
    """Module or class, and name: what the first name means is looked up, and nothing is run."""
    first = _variable(frame, names[0])
    if len(names) == 1:
        module = getattr(first, "__module__", None) or ""
        return f"{_HOMES.get(module, module)}.{getattr(first, '__name__', names[0])}"
    if isinstance(first, ModuleType):
        return f"{_HOMES.get(first.__name__, first.__name__)}.{names[-1]}"
    kinds = [kind.__module__ for kind in type(first).__mro__]
    home = next((_HOMES.get(module, module) for module in kinds if _HOMES.get(module, module) in ("socket", "io")), "")
    return f"{home or type(first).__name__}.{names[-1]}"


def _variable(frame: FrameType, name: str) -> object:
    for names in (frame.f_locals, frame.f_globals, frame.f_builtins):
        if name in names:
            return names[name]
    return _UNKNOWN


def _arguments(frame: FrameType, place: Place) -> list[object]:
    """The values of a call's arguments, as far as its source and the variables tell."""
    source = _source(frame, place)
    try:
        tree = ast.parse(source.strip(), mode="eval").body
    except SyntaxError:
        return []
    return [_value(frame, argument) for argument in tree.args] if isinstance(tree, ast.Call) else []


def _source(frame: FrameType, place: Place) -> str:
    """The characters of the source that a place is about. Columns count bytes."""
    first, last, start, end = place
    if first is None or last is None or start is None or end is None:
        return ""
    lines = [linecache.getline(frame.f_code.co_filename, number, frame.f_globals).encode() for number in range(first, last + 1)]
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    return b"".join(lines).decode(errors="replace")


def _value(frame: FrameType, node: ast.expr) -> Any:
    """What an expression was, if that takes no call: constants, variables, and tuples and lists of them."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return _variable(frame, node.id)
    if isinstance(node, ast.Attribute) and isinstance(module := _value(frame, node.value), ModuleType):
        return vars(module).get(node.attr, _UNKNOWN)
    if isinstance(node, ast.Tuple | ast.List):
        values = [_value(frame, element) for element in node.elts]
        return _UNKNOWN if _UNKNOWN in values else tuple(values)
    return _UNKNOWN
