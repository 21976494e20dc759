"""Namespaces of each kind: made, and used for what they are for.  namespaces(7)"""

import os
import pwd

from scratchlab import linux, stages
from scratchlab.doctor.attempt import Attempt, apart, child_of, ordinary, own_user_namespace, scratch, settled
from scratchlab.errors import HostError, ScratchlabError, facts
from scratchlab.linux import Clone
from scratchlab.shared import run_directory
from scratchlab.stages import subids
from scratchlab.stages.stage import namespaces_of

_NO_NAMESPACE = "as root, allow more of that kind: sysctl user (docker and other sandboxes may lower it); or use another kernel"
_NO_USER = (
    "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), kernel.unprivileged_userns_clone=1 (Debian), "
    "user.max_user_namespaces=15000; in a container, ask its engine"
)


def _uts() -> None:
    apart(Clone.NEWUTS)
    stages.hostname("doctor")
    _expect(os.uname().nodename == "doctor", "the hostname did not change")


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ScratchlabError(otherwise)


def _pid() -> None:
    apart(Clone.NEWPID)
    child_of(lambda: _expect(os.getpid() == 1, f"the first process in it is number {os.getpid()}"))


def _net() -> None:
    apart(Clone.NEWNET)
    stages.loopback()


def _time() -> None:
    apart(Clone.NEWTIME)
    linux.write_file("/proc/self/timens_offsets", "boottime 86400 0\n")
    with open("/proc/uptime") as uptime:
        before = float(uptime.read().split()[0])

    def day_later() -> None:
        with open("/proc/uptime") as uptime:
            _expect(float(uptime.read().split()[0]) > before + 86000, "the clock did not change")

    child_of(day_later)


def _join() -> None:
    """Enter a child's namespaces by its pidfd."""
    journals = run_directory().parent  # asked now: in a user namespace we are called root, and would look in root's
    apart()
    os.environ["XDG_RUNTIME_DIR"] = str(journals)
    with settled(lambda: linux.unshare(Clone.NEWUTS)) as target:
        theirs = namespaces_of(target.pid, ["uts"])
        fd = linux.pidfd_open(target.pid)
        linux.setns(fd, Clone.NEWUTS)
        _expect(namespaces_of("self", ["uts"]) == theirs, "setns(2) by a pidfd led elsewhere")


def _range_of_ids() -> None:
    """What /etc/subuid grants, written by newuidmap."""
    if os.geteuid() == 0:
        _become_the_first_in_subuid()
    wanted = subids.available()
    if wanted == 1:
        raise HostError(
            f"{subids.SUBUID} and {subids.SUBGID} grant no range to this user", subids.how_to_grant(subids.SUBUID, subids.SUBGID)
        )
    with settled(lambda: linux.unshare(Clone.NEWUSER)) as target:
        stages.map_ids(target, count=wanted)


def _become_the_first_in_subuid() -> None:
    name = facts.text(subids.SUBUID).partition(":")[0]
    if not name:
        raise HostError(
            f"{subids.SUBUID} grants no range to anybody", "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER"
        )
    entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    linux.setgroups([])
    linux.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    linux.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    linux.prctl(linux.Prctl.SET_DUMPABLE, 1)


def _user_as_ordinary() -> None:
    ordinary()
    own_user_namespace()
    scratch()  # some distributions allow the namespace and then refuse everything in it: only a mount tells


ATTEMPTS = [
    Attempt("UTS namespace", _uts, ("unshare_uts", "hostname"), (6,), _NO_NAMESPACE),
    Attempt("IPC namespace", lambda: apart(Clone.NEWIPC), ("unshare_ipc",), (6,), _NO_NAMESPACE),
    Attempt("PID namespace", _pid, ("unshare_pid",), (7,), _NO_NAMESPACE),
    Attempt("network namespace", _net, ("unshare_net", "loopback"), (9,), _NO_NAMESPACE),
    Attempt("mount namespace", lambda: apart(Clone.NEWNS), ("unshare_mount", "private_mounts"), (3,), _NO_NAMESPACE),
    Attempt("cgroup namespace", lambda: apart(Clone.NEWCGROUP), ("unshare_cgroup",), (11,), _NO_NAMESPACE),
    Attempt("time namespace", _time, ("unshare_time",), (18,), "lesson 18 shows its own clocks only with it", needed=False),
    Attempt("user namespace", own_user_namespace, ("unshare_user", "map_ids"), (8,), _NO_USER),
    Attempt("user namespace without root", _user_as_ordinary, ("unshare_user", "map_ids"), (8,), f"use sudo; or, {_NO_USER}"),
    Attempt(
        "a range of ids, by newuidmap", _range_of_ids, ("map_ids",), (8,),
        "install uidmap, and grant a range; without it, a container of an ordinary user has one id", needed=False,
    ),
    Attempt("joining by pidfd", _join, ("join",), (17,), "Linux 5.8 or newer; lesson 17 and `scratchlab exec` need it"),
]  # fmt: skip
