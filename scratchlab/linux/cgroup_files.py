"""The files of one control group, read and written.  cgroups(7)"""

from scratchlab.errors.facts import text
from scratchlab.linux.ledger import record
from scratchlab.linux.posix import write_file
from scratchlab.linux.proc import rows


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
    return text(f"{path}/{knob}")


def table(said: str) -> dict[str, int]:
    """The text of a file of names and numbers, such as cpu.stat, memory.events and pids.events."""
    return dict(rows(said, "cgroups(7)", _entry))


def _entry(line: str) -> tuple[str, int]:
    name, number = line.split()
    return name, int(number)
