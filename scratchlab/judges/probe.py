"""What a process can do in a container, found out by trying, from inside: a program of its own, which imports nothing of ours.

    python3 probe.py < {"calls": {"mount": [165, [-1, …]]}, "nodes": {"disk": ["block", 254, 0]}, "capsh": ["capsh", "--print"]}

It runs in any container that can be given a Python: ours, runc's, docker's. Nothing that it tries can succeed in changing
anything: calls.py says why, call by call, and files are opened but not written.
"""

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import stat
import sys
from collections.abc import Callable, Iterator

PATIENCE = 5.0  # seconds that one call may take before it counts as one that blocks


def main() -> None:
    """Try everything; one JSON object is the answer."""
    asked = json.load(sys.stdin)
    found = {
        "status": text("/proc/self/status"),
        "mountinfo": text("/proc/self/mountinfo"),
        "namespaces": {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in sorted(os.listdir("/proc/self/ns"))},
        "strangers": [pid for pid in filter(str.isdigit, os.listdir("/proc")) if is_stranger(pid)],
        "capsh": capsh(asked["capsh"]),
        "links": {name: text(f"/sys/class/net/{name}/address").strip() for name in listed("/sys/class/net")},
        "sockets": sorted({line.split()[-1] for line in text("/proc/net/unix").splitlines() if " @" in line}),
        "devices": sorted(openable("/dev", is_device)),
        "made": {name: made(*node) for name, node in asked["nodes"].items()},
        "readable": sorted(path for path in openable("/proc", stat.S_ISREG) if says_something(path)),
        "writable": sorted(path for top in ("/proc", "/sys") for path in openable(top, stat.S_ISREG, os.O_WRONLY)),
        "calls": calls(asked["calls"]),  # last: a call may end this process
    }
    json.dump(found, sys.stdout)


# -- files ------------------------------------------------------------------------------------------------------------


def text(path: str) -> str:
    """What a file says, or nothing where it cannot be read."""
    with contextlib.suppress(OSError), open(path, errors="replace") as file:
        return file.read()
    return ""


def listed(path: str) -> list[str]:
    """The names in a directory, or none where there is no such directory."""
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


def is_device(mode: int) -> bool:
    """Whether the mode of a file is that of a device."""
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def openable(top: str, wanted: Callable[[int], bool], flags: int = os.O_RDONLY) -> Iterator[str]:
    """Files of a kind that can be opened so. Opening changes nothing."""
    for path in files_below(top):
        with contextlib.suppress(OSError):
            if wanted(os.lstat(path).st_mode):
                # NONBLOCK and NOCTTY: neither wait for a partner, nor take a terminal.
                os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY))
                yield path


def files_below(top: str) -> Iterator[str]:
    """All paths, but for what belongs to one process."""
    for directory, below, names in os.walk(top):
        if directory == "/proc":
            below[:] = [name for name in below if not name.isdigit() and name not in ("self", "thread-self")]
        yield from (os.path.join(directory, name) for name in names)


def says_something(path: str) -> bool:
    """Whether there is anything to read: a masked file can be opened too, and is empty."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return bool(os.read(fd, 1))
        finally:
            os.close(fd)
    return False


def made(kind: str, major: int, minor: int) -> str:
    """What becomes of making a device node and opening it for reading: "" if that works, or the first errno."""
    path, mode = "/dev/judged", stat.S_IFBLK if kind == "block" else stat.S_IFCHR
    try:
        os.mknod(path, mode | 0o600, os.makedev(major, minor))
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        return ""
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


# -- who else is here -------------------------------------------------------------------------------------------------


def is_stranger(pid: str) -> bool:
    """Whether a process is of another pid namespace than this one; one that hides its namespace is."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
    except FileNotFoundError:  # gone
        return False
    except OSError:
        return True


def capsh(argv: list[str]) -> str:
    """What another program says of the capabilities that it is given here.  capsh(1)"""
    reader, writer = os.pipe()
    child = os.posix_spawn(argv[0], argv, {}, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)])
    os.close(writer)
    with open(reader) as said:
        answer = said.read()
    os.waitpid(child, 0)
    return answer


# -- system calls -----------------------------------------------------------------------------------------------------


def calls(wanted: dict[str, tuple[int, list[int]]]) -> dict[str, str]:
    """What the kernel answers to each call: "0", an errno by name, "blocks", or the signal that it sent."""
    answers: dict[str, str] = {}
    while left := {name: call for name, call in wanted.items() if name not in answers}:
        try_in_child(left, answers)
    return answers


def try_in_child(left: dict[str, tuple[int, list[int]]], answers: dict[str, str]) -> None:
    """Make calls in a child, until all are made. If one ends it, that was the answer to that one."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        tell(left, writer)
    os.close(writer)
    names = iter(left)
    with open(reader, "rb", buffering=0) as told:
        while (name := next(names, None)) is not None:
            ready = select.select([told], [], [], PATIENCE)[0]
            if not (answer := told.read(4) if ready else b""):
                break
            number = int.from_bytes(answer, "little")
            answers[name] = errno.errorcode.get(number, str(number))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if name is not None:
        answers[name] = signal.Signals(os.WTERMSIG(status)).name if ready else "blocks"


def tell(left: dict[str, tuple[int, list[int]]], writer: int) -> None:
    """In the child: one call after the other, with an errno of four bytes for each."""
    libc = ctypes.CDLL(None, use_errno=True)
    for number, arguments in left.values():
        ctypes.set_errno(0)
        failed = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(word) for word in arguments)) == -1
        os.write(writer, (ctypes.get_errno() if failed else 0).to_bytes(4, "little"))
    signal.pause()


if __name__ == "__main__":
    main()
