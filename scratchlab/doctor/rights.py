"""Privileges: given up, and gone.  capabilities(7)"""

import os
from collections.abc import Callable

from scratchlab import linux, stages
from scratchlab.doctor.attempt import Attempt, apart, scratch
from scratchlab.errors import HostError, ScratchlabError, facts
from scratchlab.linux import Prctl
from scratchlab.stages.labels import active_modules


def _root() -> None:
    if os.geteuid() != 0:
        raise HostError(
            f"this is user {os.geteuid()}, not root",
            "limits, veth, NAT and device nodes need root; the rest works by a user namespace",
        )


def _refused(act: str, what: object) -> None:
    """Check that something is refused by now."""
    raise ScratchlabError(f"{act} still works, though {what} was given up")


def _capabilities() -> None:
    apart()
    stages.capabilities(["chown"])
    if linux.capget().permitted & ~1 or not linux.prctl(Prctl.CAPBSET_READ, 0):
        _refused("more than CAP_CHOWN", "the rest")


def _no_new_privs() -> None:
    stages.no_new_privs()
    if linux.prctl(Prctl.GET_NO_NEW_PRIVS) != 1:
        _refused("to gain privileges by execve(2)", "that")


def _user() -> None:
    stages.user(65534)
    if os.getresuid() != (65534,) * 3:
        _refused("being somebody else", "that")


def _rlimits() -> None:
    stages.rlimits(NOFILE=16)
    try:
        fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
    except OSError:
        return
    _refused(f"opening {len(fds)} files", "more than 16")


def _ambient() -> None:
    apart()
    stages.ambient(["chown"])
    if not int(facts.status("CapAmb"), 16):
        raise ScratchlabError("no capability is ambient after it was raised")


def _close_fds() -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(fd, True)
    stages.close_fds()
    if os.get_inheritable(fd):
        _refused("to inherit an open file", "that")


def _seccomp() -> None:
    stages.no_new_privs()
    stages.seccomp(["getpriority"])
    try:
        os.getpriority(os.PRIO_PROCESS, 0)
    except PermissionError:
        return
    _refused("getpriority(2)", "it")


def _landlock() -> None:
    here = scratch()
    stages.no_new_privs()
    stages.landlock(write=[])
    try:
        os.mkdir(f"{here}/new")
    except PermissionError:
        return
    _refused("making a directory", "all writing")


def _module(name: str) -> Callable[[], None]:
    def act() -> None:
        active = active_modules()
        if name not in active:
            raise HostError(
                f"{name} is not active here: this kernel decides by {', '.join(active) or 'no module that it tells of'}"
            )

    return act


_NO_FILTER = "no kernel lacks it: a filter is active here, or a container around this"
_NO_MODULE = "nothing: the other walls stand without it; to have it, boot with lsm=…,"

ROOT = [
    Attempt("root", _root, ("veth", "nat", "publish", "cpu", "memory", "pids", "io"), (0,), "use sudo", needed=False),
]  # fmt: skip

ATTEMPTS = [
    Attempt("capabilities", _capabilities, ("capabilities",), (13,), _NO_FILTER),
    Attempt("ambient capabilities", _ambient, ("ambient",), (13,), "Linux 4.3 or newer"),
    Attempt("no_new_privs", _no_new_privs, ("no_new_privs",), (13, 14), _NO_FILTER),
    Attempt("seccomp", _seccomp, ("seccomp",), (14,), "a kernel with CONFIG_SECCOMP_FILTER; or --without seccomp"),
    Attempt("Landlock", _landlock, ("landlock",), (14,), "only lesson 14 shows less without it", needed=False),
    Attempt("AppArmor", _module("apparmor"), ("apparmor_profile",), (14,), f"{_NO_MODULE}apparmor", needed=False),
    Attempt("SELinux", _module("selinux"), ("selinux_label",), (14,), f"{_NO_MODULE}selinux", needed=False),
    Attempt("closing of inherited files", _close_fds, ("close_fds",), (1, 4), "Linux 5.11 or newer: close_range(2)"),
    Attempt(
        "other users and groups", _user, ("user",), (8, 13), "use sudo; or map more ids than one into a user namespace",
        needed=False,
    ),
    Attempt("resource limits", _rlimits, ("rlimits",), (11, 13), _NO_FILTER),
]  # fmt: skip
