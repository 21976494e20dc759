"""Processes and namespaces: born, joined, counted, signalled. Each is provoked for real."""

import mmap
import os
import subprocess
import threading
from pathlib import Path

import pytest

from scratchlab import linux
from scratchlab.errors import causes
from scratchlab.linux import Clone
from scratchlab.linux.ledger import look
from tests.conftest import in_child, needs_root
from tests.errors.provoked import Act, call, nobody, own_user_namespace, says

pytestmark = needs_root


def with_a_thread(act: Act) -> Act:
    def threaded() -> None:
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait)
        thread.start()
        try:
            act()
        finally:
            stop.set()
            thread.join()

    return threaded


def join(path: str, kind: Clone) -> Act:
    return lambda: linux.setns(os.open(path, os.O_RDONLY), kind)


def limited(kind: str, flag: Clone) -> Act:
    """A user namespace counts its own: its switch is not the machine's."""

    def act() -> None:
        own_user_namespace()
        Path(f"/proc/sys/user/max_{kind}_namespaces").write_text("0")
        linux.unshare(flag)

    return act


def deeper_and_deeper() -> None:
    for _ in range(40):
        own_user_namespace()


def born_dead() -> None:
    linux.unshare(Clone.NEWPID)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    if linux.fork() == 0:
        os._exit(0)


def kill(pid: int, number: int = 0) -> None:
    call("kill", lambda: os.kill(pid, number), pid=pid, sig=number)


def gone() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def strangers() -> None:
    init = os.getppid()
    nobody()
    kill(init)


def set_clocks() -> None:
    linux.unshare(Clone.NEWTIME)
    linux.write_file("/proc/self/timens_offsets", "monotonic 1 0\n")
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)
    linux.write_file("/proc/self/timens_offsets", "monotonic 2 0\n")


def set_clock(seconds: int) -> Act:
    def act() -> None:
        linux.unshare(Clone.NEWTIME)
        linux.write_file("/proc/self/timens_offsets", f"monotonic {seconds} 0\n")

    return act


def look_at_a_stranger() -> None:
    root = os.getppid()
    nobody()
    look("readlink", {"path": f"/proc/{root}/ns/uts"}, lambda: os.readlink(f"/proc/{root}/ns/uts"))


def number_of_another_namespace() -> None:
    """In a new pid namespace, with the old one's /proc: a number that it has is not one of ours."""
    linux.unshare(Clone.NEWPID)
    outside = os.getppid()
    in_child(lambda: linux.pidfd_open(outside))


def file_of_nobody() -> None:
    linux.unshare(Clone.NEWUSER | Clone.NEWNS)  # and no map_ids
    linux.mount("tmpfs", "/mnt", "tmpfs")
    call("open", lambda: os.open("/mnt/file", os.O_CREAT | os.O_WRONLY), pathname="/mnt/file")


def out_of_address_space() -> None:
    linux.setrlimit("RLIMIT_AS", 1 << 30, 1 << 30)
    call("mmap", lambda: mmap.mmap(-1, 1 << 31), length=1 << 31)


CASES: dict[str, tuple[Act, str, str]] = {
    "several threads": (with_a_thread(lambda: linux.unshare(Clone.NEWUSER)), "EINVAL", "this process has 2 threads"),
    "several threads join": (
        with_a_thread(join("/proc/self/ns/user", Clone.NEWUSER)),
        "EINVAL",
        "this process has 2 threads",
    ),
    "unknown flags": (lambda: linux.unshare(Clone(0x1)), "EINVAL", "refused these flags: 0x1"),
    "own user namespace": (join("/proc/self/ns/user", Clone.NEWUSER), "EINVAL", "that it is in already"),
    "not a namespace": (join("/etc/hostname", Clone.NEWUTS), "EINVAL", "leads to /etc/hostname, which is no namespace"),
    "another kind of namespace": (join("/proc/self/ns/uts", Clone.NEWNET), "EINVAL", "of the kind uts, not net"),
    "no uts namespace left": (limited("uts", Clone.NEWUTS), "ENOSPC", "user.max_uts_namespaces is 0"),
    "no user namespace left": (limited("user", Clone.NEWUSER), "ENOSPC", "user.max_user_namespaces is 0"),
    "too deep": (deeper_and_deeper, "ENOSPC", "user namespaces can lie 32 deep"),
    "pid 1 is dead": (born_dead, "ENOMEM", "pid 1 of the pid namespace for new children has died"),
    "no address space": (out_of_address_space, "ENOMEM", "may have 1073741824 bytes of address space: RLIMIT_AS"),
    "process has ended": (lambda: kill(gone()), "ESRCH", r"there is no process \d+ in this pid namespace"),
    "process has ended, by pidfd": (lambda: linux.pidfd_open(gone()), "ESRCH", r"there is no process \d+"),
    "no pid at all": (lambda: linux.pidfd_open(-5), "EINVAL", "-5 is not the number of a process"),
    "process of another user": (strangers, "EPERM", r"process \d+ .* is of user 0, and user 65534.* only its own"),
    "clocks are set": (set_clocks, "EACCES", "somebody is in this time namespace already"),
    "clock before the machine": (set_clock(-(10**9)), "ERANGE", r"a clock would be below 0.*runs for [\d.]+ seconds"),
    "namespace of another user's process": (look_at_a_stranger, "EACCES", r"process \d+ .* is of another user, or has capab"),
    "number of another pid namespace": (number_of_another_namespace, "ESRCH", "belongs to another pid namespace"),
    "file of an id without a number": (file_of_nobody, "EOVERFLOW", "who has no number in this user namespace"),
    "no descriptor": (lambda: linux.setns(999, Clone.NEWNET), "EBADF", "no file is open as descriptor 999"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_cause_that_lies_in_a_process_is_found(name: str) -> None:
    says(*CASES[name])


def test_a_process_of_another_pid_namespace_is_not_found_by_its_number() -> None:
    found = causes.find("kill", "ESRCH", {"pid": "4000000"})

    assert found is not None and "no process 4000000 in this pid namespace" in found.why


def test_a_zombie_is_told_from_a_process_that_is_gone() -> None:
    with subprocess.Popen(["true"]) as ended:
        while "Z" not in Path(f"/proc/{ended.pid}/stat").read_text().rpartition(")")[2].split()[0]:
            os.sched_yield()
        found = causes.find("pidfd_open", "ESRCH", {"pid": str(ended.pid)})

    assert found is not None and f"process {ended.pid} has ended, and waits to be reaped by process {os.getpid()}" in found.why
