"""What the tests of stages ask about processes."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scratchlab.journal import end_process, start_time
from scratchlab.stages import stage


def status(pid: int | str) -> dict[str, str]:
    """/proc/PID/status by field."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def sets(pid: int | str) -> dict[str, int]:
    """The five sets of capabilities, as masks."""
    return {name: int(value, 16) for name, value in status(pid).items() if name.startswith("Cap")}


def refused(act: Callable[[], object]) -> bool:
    """Whether the kernel says EPERM."""
    try:
        act()
    except PermissionError:
        return True
    except OSError as error:
        return error.errno == 1
    return False


def only_child(pid: int) -> int:
    """The one child of a process, as this pid namespace numbers it."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def started(act: Callable[[], object]) -> int:
    """The pid of a child that has done `act`, and lives until the test ends it and waits for it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        stage.serve()
        act()
        os.write(writer, b"x")
        signal.pause()
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)
    return pid


@contextmanager
def orphan(act: Callable[[], object]) -> Iterator[int]:
    """A process that did `act`, and whose parent has then been killed. It is killed in the end if it lives on."""
    reader, writer = os.pipe()
    if (parent := os.fork()) == 0:
        if os.fork() == 0:
            stage.serve()
            act()
            os.write(writer, b"%d" % os.getpid())
        signal.pause()
    child = int(os.read(reader, 16))
    started = start_time(child)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    try:
        yield child
    finally:
        os.close(reader)
        os.close(writer)
        end_process(child, started)
