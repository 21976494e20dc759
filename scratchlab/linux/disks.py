"""Which disk a file is on, by the numbers that the kernel gives to disks.  sysfs(5)"""

import os
from pathlib import Path


def disk_of(path: str) -> str:
    """The disk that a file is on, as "254:0"; "" if it is on none, as in a tmpfs.  stat(2)"""
    number = os.stat(path).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    return whole(device) if os.path.exists(f"/sys/dev/block/{device}") else ""


def whole(device: str) -> str:
    """The disk that a partition is a part of; of a disk, itself.  sysfs(5)"""
    place = Path("/sys/dev/block", device).resolve()
    return (place.parent / "dev").read_text().strip() if (place / "partition").exists() else device
