"""What a mount table says about walls, from tables of several engines."""

import pytest

from scratchlab.linux.proc import MountPoint, parse_mountinfo
from scratchlab.peers import walls

DOCKER = """\
67 44 254:0 /vfs/dir/ac85 / rw,relatime master:1 - ext4 /dev/vda rw
68 67 0:40 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
71 67 0:43 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro
72 71 0:44 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755
73 72 0:29 /docker/3f0b /sys/fs/cgroup/cpu ro,nosuid,nodev,noexec,relatime - cgroup cgroup rw,cpu
84 67 254:0 /containers/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda rw
48 68 0:40 /sys /proc/sys ro,nosuid,nodev,noexec,relatime - proc proc rw
49 68 0:46 / /proc/acpi ro,relatime - tmpfs tmpfs ro
50 68 0:41 /null /proc/keys rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
52 71 0:47 / /sys/firmware ro,relatime - tmpfs tmpfs ro
"""

HOST = """\
20 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
21 20 0:20 / /proc rw,relatime shared:2 - proc proc rw
22 20 0:21 / /sys rw,relatime shared:3 - sysfs sysfs rw
23 22 0:22 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw
"""


def table(text: str) -> list[MountPoint]:
    return parse_mountinfo(text)


def test_a_mask_is_an_empty_tmpfs_or_the_null_device_and_not_a_place_for_other_mounts() -> None:
    assert walls.masked(table(DOCKER)) == {"/proc/acpi", "/proc/keys", "/sys/firmware"}
    assert walls.masked(table(HOST)) == frozenset()


def test_a_path_below_a_read_only_one_says_nothing_new() -> None:
    assert walls.read_only(table(DOCKER)) == {"/sys", "/proc/sys"}
    assert walls.read_only(table(HOST)) == frozenset()


def test_what_is_writable_in_a_read_only_tree_is_found() -> None:
    assert walls.writable(table(DOCKER)) == {"/proc", "/sys/fs/cgroup"}
    assert walls.writable(table(HOST)) == {"/proc", "/sys", "/sys/fs/cgroup"}


def test_what_was_brought_in_is_no_part_of_the_usual() -> None:
    assert walls.brought_in(table(DOCKER)) == {"/etc/resolv.conf"}


@pytest.mark.parametrize(
    ("target", "said"),
    [("/sys", "sysfs ro,nosuid,nodev,noexec"), ("/", "ext4 rw"), ("/dev", "not mounted"), ("/proc/keys", "tmpfs rw,nosuid")],
)
def test_a_mount_is_described_in_a_few_words(target: str, said: str) -> None:
    assert walls.described(walls.at(table(DOCKER), target)) == said


def test_of_mounts_on_each_other_the_last_is_seen() -> None:
    over = table(HOST + "30 21 0:50 / /proc ro - tmpfs tmpfs ro\n")

    assert walls.described(walls.at(over, "/proc")) == "tmpfs ro"
