"""Control groups and processes in them, for tests."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scratchlab.linux import cgroupfs

NAME = f"test-{os.getpid()}"
TREES = (None, "cpu", "memory", "pids", "io")  # None is the tree that tracks processes


@contextmanager
def group(controller: str | None = None, name: str = NAME) -> Iterator[str]:
    path = cgroupfs.create(controller, name)
    try:
        yield path
    finally:
        cgroupfs.remove(path)


@contextmanager
def process(path: str, act: Callable[[], object] = signal.pause) -> Iterator[int]:
    """A child in a group, which does `act`; waited for at the end, so it must have been killed."""
    pid = os.fork()
    if pid == 0:
        try:
            cgroupfs.enter(path, os.getpid())
            act()
        finally:
            os._exit(0)
    until(lambda: pid in cgroupfs.procs(path))
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def until(claim: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def fork_and(act: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    return pid
