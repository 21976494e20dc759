"""All processes that /proc shows, as a table: what ps(1) reads, and what a picture of the process tree is made from."""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from scratchlab.linux.proc import parse_namespace, parse_status


class Listed(NamedTuple):
    """One process, as the reader's /proc numbers it."""

    pid: int
    ppid: int
    command: str
    state: str  # R running, S sleeping, Z zombie …
    nspid: tuple[int, ...]  # its pid in each pid namespace that it is in, from the reader's to its own
    pid_namespace: int  # its inode; 0 where it may not be known


def listed() -> list[Listed]:
    """Every process that this /proc shows, by pid.  proc(5)"""
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    return [process for pid in pids for process in _read(pid)]


def _read(pid: int) -> Iterator[Listed]:
    with suppress(FileNotFoundError, ProcessLookupError):  # ended since the listing
        with open(f"/proc/{pid}/status", "rb") as file:
            status = parse_status(os.fsdecode(file.read()))
        numbers = tuple(int(word) for word in status.get("NSpid", "").split())
        yield Listed(pid, int(status["PPid"]), status["Name"], status["State"][0], numbers or (pid,), _pid_namespace(pid))


def _pid_namespace(pid: int) -> int:
    try:
        return parse_namespace(os.readlink(f"/proc/{pid}/ns/pid"))
    except OSError:  # another user's, or a zombie
        return 0
