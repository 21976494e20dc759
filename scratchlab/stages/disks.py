"""How fast a disk is, measured past the page cache: by O_DIRECT, on a file that has no name.  open(2)"""

import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from scratchlab.errors import HostError
from scratchlab.linux.disks import whole
from scratchlab.linux.proc import parse_mountinfo, rows
from scratchlab.stages.sizes import readable

PAGE = 4096
MIB = 1 << 20


class Rate(NamedTuple):
    """One of the limits in a line of io.max, such as `254:0 wbps=1048576`."""

    device: str
    key: str  # rbps, wbps, riops, wiops
    maximum: int

    @classmethod
    def first(cls, text: str) -> "Rate":
        """The first limit in the text of io.max that is not "max"."""
        for rates in rows(text, "io.max in cgroups(7)", _rates):
            for rate in rates:
                return rate
        raise HostError(f"no limit in {text!r}")

    @property
    def writes(self) -> bool:
        """Whether writing is what is limited."""
        return self.key.startswith("w")

    def of(self, number: float) -> str:
        """A rate in this limit's unit, for people."""
        return f"{readable(round(number))}/s" if self.key.endswith("bps") else f"{number:.0f} operations/s"

    def plan(self) -> tuple[int, int]:
        """The size and the count of operations that take about half a second at this rate."""
        if self.key.endswith("iops"):
            return PAGE, max(2, min(self.maximum // 2, 2000))
        total = min(self.maximum // 2, 64 * MIB)
        size = max(PAGE, min(total // 8, MIB) // PAGE * PAGE)  # O_DIRECT wants whole blocks
        return size, max(1, total // size)


def _rates(line: str) -> list[Rate]:
    device, *pairs = line.split()
    split = [pair.split("=") for pair in pairs]
    return [Rate(device, key, int(number)) for key, number in split if number != "max"]


def measure(fd: int, rate: Rate) -> float:
    """Bytes, or operations, per second of writing or reading an open file."""
    size, count = rate.plan()
    credit = count // 4  # a process that was idle may have some operations at once: not counted
    with mmap.mmap(-1, size) as buffer:  # O_DIRECT wants memory that begins at a page too
        start = time.monotonic()
        for number in range(count):
            if number == credit:
                start = time.monotonic()
            _move(fd, buffer, number * size, rate.writes)
        seconds = time.monotonic() - start
    done = count - credit
    return (done if rate.key.endswith("iops") else size * done) / seconds


def _move(fd: int, buffer: mmap.mmap, offset: int, write: bool) -> None:
    if write:
        os.pwrite(fd, buffer, offset)
    else:
        os.preadv(fd, [buffer], offset)


@contextmanager
def scratch(rate: Rate) -> Iterator[int]:
    """An unnamed file on a disk, or where no filesystem of it is mounted, the disk itself to read."""
    place = _directory_on(rate.device)
    if not place and rate.writes:
        raise HostError(
            f"no filesystem on {rate.device} is mounted to write to, so the limit cannot be proven", "check: lsblk -f"
        )
    name = Path("/sys/dev/block", rate.device).resolve().name
    direct = os.O_DIRECT | os.O_CLOEXEC
    fd = os.open(place, os.O_TMPFILE | os.O_RDWR | direct, 0o600) if place else os.open(f"/dev/{name}", os.O_RDONLY | direct)
    try:
        if place:
            measure(fd, rate._replace(key="w" + rate.key[1:]))
        yield fd
    finally:
        os.close(fd)


def _directory_on(device: str) -> str:
    """A directory that one can write to on a filesystem on this disk or on one of its partitions, or ''."""
    for mount in parse_mountinfo(Path("/proc/self/mountinfo").read_text(errors="surrogateescape")):
        writable = os.path.isdir(mount.target) and os.access(mount.target, os.W_OK)
        if whole(mount.device) == device and writable and _keeps_unnamed_files(mount.target):
            return mount.target
    return ""


def _keeps_unnamed_files(directory: str) -> bool:
    try:
        os.close(os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC, 0o600))
    except OSError:  # EOPNOTSUPP, EINVAL: not every filesystem has unnamed files, or direct writes
        return False
    return True
