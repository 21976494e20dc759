"""What a system call is called, and its number: x86_64 grew its own table; aarch64 uses the kernel's generic one.

The table is `numbers.txt` beside this file, written by tools/syscall_numbers.py from the kernel's headers.
"""

import contextlib
import functools
import os

from scratchlab.errors import HostError

MACHINES = ("x86_64", "aarch64")  # the order of the columns


@functools.cache
def table(machine: str) -> dict[str, int]:
    """The numbers of all system calls of a machine, by name. Raises HostError.  syscalls(2)"""
    if machine not in MACHINES:
        raise HostError(f"the system calls of {machine} are not known", f"Scratchlab knows {', '.join(MACHINES)}")
    column = 1 + MACHINES.index(machine)
    with open(os.path.join(os.path.dirname(__file__), "numbers.txt")) as text:
        rows = [line.split() for line in text if not line.startswith("#")]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


def here() -> dict[str, int]:
    """The numbers of all system calls of this machine, by name.  uname(2)"""
    return table(os.uname().machine)


with contextlib.suppress(HostError):  # who makes no call needs no number
    here()  # now: after `pivot`, the file cannot be found any more
