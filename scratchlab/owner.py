"""Whether the process that made something still lives: its number alone proves nothing, for numbers come again."""

import os
import select
import sys
from pathlib import Path

from scratchlab.errors import facts


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot: field 22. 0 if there is none, or only a zombie.  proc_pid_stat(5)

    On a system without /proc, 1 if there is a process of that number: as much as can be said there.
    """
    if sys.platform != "linux":
        return int(_lives(pid))
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # The second field is the program's name in brackets, which may hold brackets and spaces itself.
    fields = stat.rpartition(")")[2].split()
    # A zombie does nothing any more: its parent has merely not asked yet how it ended.
    return 0 if fields[0] in "ZX" else int(fields[19])


def _lives(pid: int) -> bool:
    if sys.platform == "win32":
        return True  # there signal 0 would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def has_ended(pidfd: int) -> bool:
    """Whether the process behind a pidfd has ended: what is asked for by that can never be another one.  pidfd_open(2)"""
    poll = select.poll()  # select(2) takes no file descriptor above 1023
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def boot_id() -> str:
    """A name for this boot of the machine; '' where the system has none.  random(4)"""
    return facts.text("/proc/sys/kernel/random/boot_id")
