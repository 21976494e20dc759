"""Whether the process that made something still lives: its number alone proves nothing, for numbers come again."""

import os
import sys
from pathlib import Path


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


def boot_id() -> str:
    """A name for this boot of the machine; '' where the system has none.  random(4)"""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
