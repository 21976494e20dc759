"""Amounts as people write them, checked against what this machine has."""

import math
import os
import re
import stat
from pathlib import Path

from scratchlab.errors import InputError

_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_size(text: int | str) -> int:
    """Bytes: 1048576, "1M", "1MiB" and "1mb" are the same, since the kernel counts in powers of 1024."""
    word = str(text).strip().upper().removesuffix("B").removesuffix("I")
    digits = word.rstrip("".join(_UNITS))
    unit = word[len(digits) :]
    if unit not in _UNITS:
        raise InputError(f"{text!r} is no size", "write bytes, or a number with K, M, G or T, such as 512M")
    size = parse_number(digits, f"a size, {text!r}") * 1024 ** _UNITS[unit]
    if not 1 <= size < 1 << 63:
        raise InputError(f"{text!r} is no size", "the least is one byte, and the kernel counts to 8388607T")
    return int(size)


def parse_number(value: float | str, what: str) -> float:
    """A number above zero. Raises InputError, which says `what` it should have been."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{what}: {value!r} is no number") from None
    except OverflowError:
        raise InputError(f"{what}: a number of hundreds of digits") from None
    if not (math.isfinite(number) and number > 0):
        raise InputError(f"{what}: {value} is not above zero")
    return number


def parse_count(value: int | str, what: str, most: int, where: str) -> int:
    """A whole number from 1 to `most`, which is what `where` says that this machine has."""
    number = parse_number(value, what)
    if number != int(number):
        raise InputError(f"{what}: {value} is not a whole number")
    if number > most:
        raise InputError(f"{what}: asked for {int(number)}, and this machine has {most} ({where})")
    return int(number)


def readable(size: int) -> str:
    """2147483648 as "2 GB", by powers of 1024 as the kernel counts."""
    for unit, power in (("TB", 4), ("GB", 3), ("MB", 2), ("KB", 1)):
        if size >= 1024**power:
            return f"{size / 1024**power:.3g} {unit}"
    return f"{size} bytes"


def machine_memory(field: str = "MemTotal") -> int:
    """Bytes of memory of this machine, or by another field of /proc/meminfo.  proc_meminfo(5)"""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == field:
            return int(rest.split()[0]) * 1024
    raise InputError(f"/proc/meminfo has no field {field}")


def whole_disk(device: str) -> str:
    """The numbers of a disk, "254:0", given as that or as /dev/vda. The kernel throttles disks, not partitions."""
    numbers = _numbers(device)
    place = Path("/sys/dev/block", numbers)
    if not place.exists():
        raise InputError(f"there is no block device {device}", f"this machine has {_disks()}")
    if (place / "partition").exists():
        disk = f"/dev/{place.resolve().parent.name}"
        raise InputError(f"{device} is a partition, and limits are for whole disks", f"use {disk}: the limit holds for all of it")
    return numbers


def _numbers(device: str) -> str:
    if re.fullmatch("[0-9]{1,9}:[0-9]{1,9}", device):
        return device
    if not os.path.exists(device):
        raise InputError(f"there is no {device!r}", f"this machine has {_disks()}")
    node = os.stat(device)
    if not stat.S_ISBLK(node.st_mode):
        raise InputError(f"{device} is not a block device", f"this machine has {_disks()}")
    return f"{os.major(node.st_rdev)}:{os.minor(node.st_rdev)}"


def _disks() -> str:
    names = sorted(entry.name for entry in Path("/sys/block").iterdir() if not entry.name.startswith(("ram", "loop")))
    return ", ".join(f"/dev/{name}" for name in names) or "no disks"
