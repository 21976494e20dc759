"""Filters of system calls: what many believe, and experiments that refute it."""

import ctypes
import errno
import os
from tempfile import TemporaryDirectory

from scratchlab import linux, stages
from scratchlab.errors import KernelError
from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.lessons.experiments import inside
from scratchlab.linux import SeccompFlag, SeccompOp, bpf
from scratchlab.linux.bpf import ALLOW, Action, Compare, Condition, Filter, Rule, Verdict
from scratchlab.linux.numbers import here
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step


def path_at_another_address() -> bool:
    """Refuse openat of what lies at one address, a path; copy the path to another one, and open that."""

    def act() -> bool:
        first, second = (ctypes.create_string_buffer(b"/etc/hostname") for _ in range(2))
        rule = Rule((Condition(1, Compare.EQ, ctypes.addressof(first)),), Action(Verdict.ERRNO, errno.EPERM))
        program = bpf.program(Filter({"openat": [rule]}, ALLOW, ALLOW), os.uname().machine)
        linux.seccomp(SeccompOp.SET_MODE_FILTER, SeccompFlag(0), program)
        opened = [ctypes.CDLL(None).syscall(here()["openat"], -100, path, os.O_RDONLY) >= 0 for path in (first, second)]
        assert not opened[0], "the filter does not even hold for the address that it names"
        return not opened[1]

    return bool(inside(act))


def file_behind_a_blocklist() -> bool:
    """Refuse open and openat, and open a file by a call that came later."""

    def act() -> bool:
        try:
            os.open("/etc/hostname", os.O_RDONLY)
            raise AssertionError("the blocklist does not hold even for what it names")
        except PermissionError:
            return linux.openat2(-100, "/etc/hostname", os.O_RDONLY) >= 0

    with Sandbox("experiment") as box:
        box.play([step(stages.seccomp, ["open", "openat"])])
        return bool(box.play([step(act)])[0]["value"])


def mkdir_after_exec() -> bool:
    """Refuse mkdir, and execute a program that was built long before, and calls it."""
    with TemporaryDirectory() as place, Sandbox("experiment") as box:
        box.play([step(stages.seccomp, ["mkdir", "mkdirat"])])
        return box.run("mkdir", f"{place}/new").ok


def mkdir_after_a_kinder_filter() -> bool:
    """Refuse mkdir; then install a second filter that allows every call."""

    def act() -> bool:
        linux.seccomp(SeccompOp.SET_MODE_FILTER, SeccompFlag(0), [bpf.answer(ALLOW)])
        try:
            linux.mkdir("/proc/no-such-directory")
        except KernelError as error:
            return error.errno != errno.EPERM
        return True

    with Sandbox("experiment") as box:
        box.play([step(stages.seccomp, ["mkdir", "mkdirat"])])
        return bool(box.play([step(act)])[0]["value"])


def ordinary_user_gives_up_files() -> bool:
    """An ordinary user without any capability restricts itself to one directory; then it writes elsewhere."""
    with TemporaryDirectory() as place, Sandbox("experiment") as box:
        os.chmod(place, 0o777)
        box.play([step(stages.user, 1000), step(stages.no_new_privs), step(stages.landlock, write=["/dev/null"])])
        done = box.run("sh", "-c", f"echo > /dev/null && echo may write && echo > {place}/file")
        return done.out == "may write" and not done.ok


BELIEFS = {
    "seccomp-sees-file-names": Belief(
        "A seccomp filter can allow one file and refuse another.",
        "A filter refuses openat of the path at one address. The same path also lies at a second address. Is it refused there?",
        {"yes, it is the same path": True, "no": False},
        path_at_another_address,
    ),
    "a-blocklist-suffices": Belief(
        "It is enough to refuse the dangerous calls.",
        "A filter refuses open and openat. Can a program open a file?",
        {"no, that is all there is": False, "yes, by a newer call": True},
        file_behind_a_blocklist,
    ),
    "exec-clears-the-filter": Belief(
        "execve starts afresh: a new program is not filtered.",
        "A process with a filter against mkdir executes the program mkdir. Does that make a directory?",
        {"yes, it is a new program": True, "no": False},
        mkdir_after_exec,
    ),
    "a-later-filter-allows": Belief(
        "Root can install another filter that allows the call again.",
        "Root's filter refuses mkdir. It installs a second one that allows everything. Does mkdir work now?",
        {"yes, the last one counts": True, "no, the strictest counts": False},
        mkdir_after_a_kinder_filter,
    ),
    "only-root-builds-walls": Belief(
        "It takes root to confine a process.",
        "Can a program of an ordinary user take the right to write files from itself?",
        {"no, that is root's": False, "yes, by Landlock": True},
        ordinary_user_gives_up_files,
    ),
}  # fmt: skip
