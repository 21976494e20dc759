"""Control groups: what they refuse, and who or what is in the way. Each is provoked for real, below our own node."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from scratchlab import linux
from scratchlab.errors import KernelError
from scratchlab.linux import Mount, cgroupfs
from tests.conftest import needs, needs_root, only_where
from tests.errors.provoked import NOBODY, call, nobody, open_, own_mounts, says
from tests.linux.groups import fork_and, group, process

pytestmark = needs_root

UNIFIED = next((tree for tree in cgroupfs.layout().hierarchies if tree.version == 2), None)
V1 = {tree: found for found in cgroupfs.layout().hierarchies if found.version == 1 for tree in found.controllers}
# What version 2 counts here; any does for the rules about handing down, but for those that threads may be divided by.
WITH_THREADS = {"cpu", "cpuacct", "cpuset", "freezer", "pids"}
CONTROLLER = next(iter(sorted((UNIFIED.controllers if UNIFIED else frozenset()) - WITH_THREADS)), "")

Group = Callable[[str], object]


def handed_down(path: str) -> None:
    """Hand a controller down to a group, from the root on."""
    assert UNIFIED is not None
    for above in (UNIFIED.mount, os.path.dirname(path)):
        cgroupfs.write(above, "cgroup.subtree_control", f"+{CONTROLLER}")


def processes_in_the_way(path: str) -> None:
    handed_down(path)
    with process(path):
        cgroupfs.write(path, "cgroup.subtree_control", f"+{CONTROLLER}")


def inner_group(path: str) -> None:
    handed_down(path)
    cgroupfs.write(path, "cgroup.subtree_control", f"+{CONTROLLER}")
    cgroupfs.enter(path, os.getpid())


def not_handed_down(path: str) -> None:
    os.mkdir(f"{path}/below")
    cgroupfs.write(f"{path}/below", "cgroup.subtree_control", f"+{CONTROLLER}")


def dead_process(path: str) -> None:
    pid = fork_and(lambda: None)
    os.waitpid(pid, 0)
    cgroupfs.enter(path, pid)


def remove_used(path: str) -> None:
    with process(path):
        call("rmdir", lambda: os.rmdir(path), path=path)


def remove_parent(path: str) -> None:
    os.mkdir(f"{path}/below")
    call("rmdir", lambda: os.rmdir(path), path=path)


def too_many_groups(path: str) -> None:
    cgroupfs.write(path, "cgroup.max.descendants", "1")
    os.mkdir(f"{path}/one")
    linux.mkdir(f"{path}/two")


def as_a_stranger(path: str) -> None:
    nobody()
    cgroupfs.enter(path, os.getpid())


def read_only(path: str) -> None:
    own_mounts()
    assert UNIFIED is not None
    linux.mount(None, UNIFIED.mount, None, Mount.REMOUNT | Mount.BIND | Mount.RDONLY)
    cgroupfs.enter(path, os.getpid())


def threaded(path: str) -> None:
    os.mkdir(f"{path}/threads")
    cgroupfs.write(f"{path}/threads", "cgroup.type", "threaded")
    os.mkdir(f"{path}/threads/invalid")
    cgroupfs.enter(f"{path}/threads/invalid", os.getpid())


VERSION_2: dict[str, tuple[Group, str, str]] = {
    "processes in the way": (processes_in_the_way, "EBUSY", r"these are in /\S+: \d+ \(.*Move them into a group of their own"),
    "group hands down": (inner_group, "EBUSY", rf"hands controllers down to groups below it \({CONTROLLER}\)"),
    "controller not handed down": (
        not_handed_down,
        "ENOENT",
        rf"does not hand {CONTROLLER} down to /\S+, which has: no controller",
    ),
    "process is dead": (dead_process, "ESRCH", r"there is no process \d+ any more"),
    "not a pid": (lambda path: cgroupfs.write(path, "cgroup.procs", "init"), "EINVAL", "'init' is not the number of a process"),
    "bad value": (lambda path: cgroupfs.write(path, "cgroup.freeze", "perhaps"), "EINVAL", "'perhaps' is not a value"),
    "no such file": (lambda path: cgroupfs.write(path, "gravity.max", "1"), "ENOENT", "this group has no such file"),
    "group is gone": (lambda path: cgroupfs.enter(f"{path}/gone", os.getpid()), "ENOENT", r"the group /\S+/gone is gone"),
    "group below none": (lambda path: linux.mkdir(f"{path}/a/b"), "ENOENT", r"/a does not exist, so nothing can be below it"),
    "group below one that is gone": (
        lambda path: cgroupfs.enter(f"{path}/a/b", os.getpid()),
        "ENOENT",
        r"the group /\S+/a/b is gone",
    ),
    "group in use": (remove_used, "EBUSY", r"processes are in /\S+: \d+ \("),
    "group with groups below": (remove_parent, "EBUSY", "has groups below it: below"),
    "too many groups": (too_many_groups, "EAGAIN", "cgroup.max.descendants is 1"),
    "group of another user": (as_a_stranger, "EACCES", r"belong to root here, and /\S+ to user 0"),
    "read-only groups": (read_only, "EROFS", "control groups are mounted read-only here"),
    "threads and processes": (threaded, "ENOTSUP", "is of the type 'domain invalid'"),
}


@needs(CONTROLLER, "needs a controller of version 2: mount -t cgroup2, or boot without systemd.unified_cgroup_hierarchy=0")
@pytest.mark.parametrize("name", VERSION_2)
def test_the_cause_that_lies_in_a_control_group_is_found(name: str) -> None:
    act, symbol, pattern = VERSION_2[name]
    with group() as path:
        says(lambda: act(path), symbol, pattern)


# -- version 1 --------------------------------------------------------------------------------------------------------


@only_where("cpuset" in V1, "needs version 1's cpuset controller")
def test_a_group_without_cpus_takes_no_process() -> None:
    with group("cpuset") as path:
        os.mkdir(f"{path}/empty")
        says(lambda: cgroupfs.enter(f"{path}/empty", os.getpid()), "ENOSPC", "has no CPU or no memory node")


@only_where("memory" in V1, "needs version 1's memory controller")
def test_a_limit_below_the_usage_says_what_is_used() -> None:
    def fill() -> None:
        held = bytearray(16 << 20)
        signal.pause()
        held.clear()

    with group("memory") as path, process(path, fill):
        deadline = range(2000)
        for _ in deadline:
            if int(Path(f"{path}/memory.usage_in_bytes").read_text()) > 16 << 20:
                break
            signal.sigtimedwait([], 0.005)
        says(lambda: cgroupfs.write(path, "memory.limit_in_bytes", "1048576"), "EBUSY", r"the group uses \d+ bytes already")


@only_where("devices" in V1, "needs version 1's devices controller")
def test_a_device_that_the_group_does_not_list_is_refused_with_the_group() -> None:
    def act(path: str) -> None:
        cgroupfs.write(path, "devices.deny", "c 1:5 rwm")
        cgroupfs.enter(path, os.getpid())
        open_("/dev/zero")

    with group("devices") as path:
        try:
            says(lambda: act(path), "EPERM", rf"the control group /\S*{os.path.basename(path)} allows only some")
        finally:
            assert os.path.exists("/dev/zero")


# -- births -----------------------------------------------------------------------------------------------------------


def test_a_full_group_is_named_with_its_numbers() -> None:
    def act(path: str) -> None:
        cgroupfs.enter(path, os.getpid())
        cgroupfs.limit(path, "pids.max", "1")
        if linux.fork() == 0:
            os._exit(0)

    with group("pids") as path:
        says(lambda: act(path), "EAGAIN", rf"/\S*{os.path.basename(path)} holds 1 processes and threads, and pids.max is 1")


def test_an_ordinary_user_that_runs_too_much_is_told_how_much() -> None:
    def act() -> None:
        linux.setrlimit("RLIMIT_NPROC", 0, 0)
        nobody()
        if linux.fork() == 0:
            os._exit(0)

    error = says(act, "EAGAIN", f"user {NOBODY} may run 0 processes and threads, and runs [1-9]")
    assert isinstance(error, KernelError)
