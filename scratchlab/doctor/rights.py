"""Privileges: given up, and gone.  capabilities(7)"""

import os

from scratchlab import linux, stages
from scratchlab.doctor.attempt import Attempt, apart
from scratchlab.errors import HostError, ScratchlabError
from scratchlab.linux import Prctl


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


_NO_FILTER = "no kernel lacks it: a filter is active here, or a container around this"

ROOT = [
    Attempt("root", _root, ("veth", "nat", "publish", "cpu", "memory", "pids", "io"), (0,), "use sudo", needed=False),
]  # fmt: skip

ATTEMPTS = [
    Attempt("capabilities", _capabilities, ("capabilities",), (13,), _NO_FILTER),
    Attempt("no_new_privs", _no_new_privs, ("no_new_privs",), (13, 14), _NO_FILTER),
    Attempt(
        "other users and groups", _user, ("user",), (8, 13), "use sudo; or map more ids than one into a user namespace",
        needed=False,
    ),
    Attempt("resource limits", _rlimits, ("rlimits",), (1, 11), _NO_FILTER),
]  # fmt: skip
