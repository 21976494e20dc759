"""Which disk a file is on: asked of the kernel in another way, and "" where there is none."""

import os
import subprocess
from pathlib import Path

from scratchlab import linux
from scratchlab.linux.disks import whole


def numbers(device):
    return Path("/sys/class/block", device, "dev").read_text().strip()


def test_a_file_in_memory_is_on_no_disk():
    assert linux.disk_of("/proc") == linux.disk_of("/dev/shm") == ""


def test_a_file_is_on_the_disk_that_findmnt_names_or_on_none():
    source = subprocess.run(["findmnt", "-nvo", "SOURCE", "-T", "/var/tmp"], capture_output=True, text=True, check=True).stdout
    device = os.path.basename(os.path.realpath(source.strip()))
    is_block = Path("/sys/class/block", device).exists()

    assert linux.disk_of("/var/tmp") == (whole(numbers(device)) if is_block else "")


def test_a_partition_is_a_part_of_its_disk_and_a_disk_of_itself():
    for place in Path("/sys/class/block").iterdir():
        disk = place.resolve().parent.name if (place / "partition").exists() else place.name

        assert whole(numbers(place.name)) == numbers(disk)
