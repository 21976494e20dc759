"""EPERM and what it can mean: capabilities, user namespaces, filters, ids and their maps. Each is provoked for real."""

import fcntl
import os
import socket
import struct
import tempfile
from pathlib import Path

import pytest

from scratchlab import linux
from scratchlab.linux import Cap, CapSets, Clone, LandlockFs, LandlockNet, LandlockScope, Mount, Prctl
from tests.conftest import held, needs_root
from tests.errors.filters import refuse
from tests.errors.provoked import NOBODY, Act, call, nobody, open_, own_mounts, own_user_namespace, says, without_capabilities

pytestmark = needs_root


def bare(act: Act) -> Act:
    return lambda: (without_capabilities(), act())


def user(act: Act, *more: Clone) -> Act:
    return lambda: (own_user_namespace(*more), act())


def switched_off() -> None:
    linux.capset(linux.capget()._replace(effective=0))
    linux.sethostname("x")


def dropped_for_good() -> None:
    linux.prctl(Prctl.CAPBSET_DROP, Cap.SYS_CHROOT)
    sets = linux.capget()
    keep = ~(1 << Cap.SYS_CHROOT)
    linux.capset(CapSets(sets.effective & keep, sets.permitted & keep, 0))
    linux.chroot("/")


def unmapped() -> None:
    linux.unshare(Clone.NEWUSER)
    linux.unshare(Clone.NEWUSER)


def chrooted() -> None:
    own_mounts()
    linux.mount("tmpfs", "/mnt", "tmpfs")
    linux.mkdir("/mnt/root")
    linux.mkdir("/mnt/root/proc")
    linux.mount("/proc", "/mnt/root/proc", None, Mount.BIND)
    linux.chroot("/mnt/root")
    linux.unshare(Clone.NEWUSER)


def mapped_twice() -> None:
    own_user_namespace()
    linux.write_file("/proc/self/uid_map", "0 0 1")


def write_map(text: str, name: str = "uid_map", deny: bool = True) -> Act:
    def act() -> None:
        nobody()
        linux.unshare(Clone.NEWUSER)
        if deny:
            linux.write_file("/proc/self/setgroups", "deny")
        linux.write_file(f"/proc/self/{name}", text)

    return act


def map_a_child() -> None:
    with held(lambda: linux.unshare(Clone.NEWUSER)) as pid:
        linux.write_file(f"/proc/{pid}/uid_map", "0 0 1")


def filtered() -> None:
    """A seccomp filter that answers EPERM to everything but what Python needs to say so."""
    refuse("sethostname")
    linux.sethostname("x")


def rules() -> int:
    return linux.landlock_create_ruleset(LandlockFs.MAKE_DIR, LandlockNet(0), LandlockScope(0), 1)


def immutable() -> None:
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:
        fcntl.ioctl(file.fileno(), 0x40086602, struct.pack("l", 0x10))  # FS_IOC_SETFLAGS, FS_IMMUTABLE_FL
        try:
            open_(file.name, os.O_WRONLY)
        finally:
            fcntl.ioctl(file.fileno(), 0x40086602, struct.pack("l", 0))


CASES: dict[str, tuple[Act, str, str]] = {
    "no capabilities": (bare(lambda: linux.sethostname("x")), "EPERM", "CAP_SYS_ADMIN is missing: this process has no cap"),
    "capability not in effect": (switched_off, "EPERM", "CAP_SYS_ADMIN is permitted but not in effect"),
    "capability dropped for good": (
        dropped_for_good,
        "EPERM",
        "CAP_SYS_CHROOT is missing here; it was dropped from the bounding",
    ),
    "object of the initial user namespace": (
        user(lambda: linux.sethostname("x")),
        "EPERM",
        r"only over what this user namespace owns.*uid_map: 0 0 1\)",
    ),
    "device in a user namespace": (
        user(lambda: linux.mknod("/tmp/scratchlab-never", 0o020666, 0x103)),
        "EPERM",
        "can make no device nodes",
    ),
    "user namespace of nobody": (unmapped, "EPERM", "has no meaning in this user namespace, and so can own no new one"),
    "user namespace in a chroot": (chrooted, "EPERM", "in a chroot: the root here is not that of the mount namespace"),
    "map written twice": (mapped_twice, "EPERM", "written once, and this one says '0 0 1' already"),
    "map of others' ids": (write_map("0 0 1"), "EPERM", f"for the own id: '0 {NOBODY} 1'"),
    "map of a range": (write_map("0 100000 65536"), "EPERM", "A range takes newuidmap"),
    "gid_map before setgroups": (write_map(f"0 {NOBODY} 1", "gid_map", deny=False), "EPERM", "setgroups must be denied before"),
    "map of root, without CAP_SETFCAP": (bare(map_a_child), "EPERM", "to map the root of the namespace above, CAP_SETFCAP is"),
    "map that overlaps": (write_map(f"0 {NOBODY} 1\n0 {NOBODY} 1"), "EINVAL", "no two ranges that overlap"),
    "group denied": (user(lambda: linux.setgroups([])), "EPERM", "setgroups says deny"),
    "unmapped user": (
        user(lambda: linux.setresuid(7, 7, 7)),
        "EINVAL",
        "no meaning in this user namespace, whose uid_map is: 0 0 1",
    ),
    "capset of more": (
        bare(lambda: linux.capset(CapSets(0, 1 << Cap.CHOWN, 0))),
        "EPERM",
        "permitted asks for 0x1, which is not",
    ),
    "bounding set without CAP_SETPCAP": (
        bare(lambda: linux.prctl(Prctl.CAPBSET_DROP, 0)),
        "EPERM",
        "SETPCAP is missing.*before user",
    ),
    "unknown capability": (lambda: linux.prctl(Prctl.CAPBSET_DROP, 63), "EINVAL", "no capability 63: the last is"),
    "no_new_privs taken back": (lambda: linux.prctl(Prctl.SET_NO_NEW_PRIVS, 0), "EINVAL", "never back to 0"),
    "seccomp without the promise": (lambda: (nobody(), refuse("unshare", promise=False)), "EACCES", "must promise no_new_privs"),
    "Landlock without the promise": (
        lambda: (nobody(), linux.landlock_restrict_self(rules())),
        "EPERM",
        "must promise no_new_privs",
    ),
    "hard limit raised": (
        bare(lambda: (linux.setrlimit("RLIMIT_CORE", 1, 1), linux.setrlimit("RLIMIT_CORE", 1, 2))),
        "EPERM",
        "hard limit is 1, and to raise",
    ),
    "limit upside down": (lambda: linux.setrlimit("RLIMIT_CORE", 2, 1), "EINVAL", "soft limit 2 is above the hard limit 1"),
    "more files than any process": (
        lambda: linux.setrlimit("RLIMIT_NOFILE", 1, int(Path("/proc/sys/fs/nr_open").read_text()) + 1),
        "EPERM",
        "fs.nr_open says",
    ),
    "hostname too long": (lambda: (linux.unshare(Clone.NEWUTS), linux.sethostname("x" * 65)), "EINVAL", "has 65 bytes"),
    "seccomp filter": (filtered, "EPERM", r"a seccomp filter is active here \(1 of them\)"),
    "mode of another's file": (
        lambda: (nobody(), linux.chmod("/etc/hostname", 0o777)),
        "EPERM",
        "hostname .*of user 0, .*CAP_FOWNER is missing",
    ),
    "immutable file": (immutable, "EPERM", "is immutable, for root too"),
    "raw socket": (
        bare(lambda: call("socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))),
        "EPERM",
        "CAP_NET_RAW is missing",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_cause_of_a_missing_privilege_is_found(name: str) -> None:
    says(*CASES[name])


def test_a_machine_without_switches_that_restrict_says_nothing_of_them() -> None:
    error = says(user(lambda: linux.sethostname("x")), "EPERM", "CAP_SYS_ADMIN")

    assert "restricts user namespaces" not in error.hint or os.path.exists("/proc/sys/kernel/unprivileged_userns_clone")
