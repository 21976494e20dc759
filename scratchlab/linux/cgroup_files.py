"""The files of one control group, read and written.  cgroups(7)"""

from scratchlab.linux.ledger import record
from scratchlab.linux.posix import write_file


def write(path: str, knob: str, value: str) -> None:
    """Write one file of a group, by its own name. What the kernel's refusals mean is in errors/causes/cgroup.py."""
    write_file(f"{path}/{knob}", value)


def read(path: str, knob: str) -> str:
    """Read one file of a group, by its own name."""

    def act() -> str:
        with open(f"{path}/{knob}") as file:
            return file.read().strip()

    return record("read", {"file": f"{path}/{knob}"}, act)


def peek(path: str, knob: str) -> str:
    """What a file says, or '' where there is none. A look is no step: not in the ledger."""
    try:
        with open(f"{path}/{knob}") as file:
            return file.read().strip()
    except OSError:
        return ""
