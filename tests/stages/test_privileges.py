"""Privileges, from both sides: what a process may still do, and what /proc/PID/status and capsh say of it."""

import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlab import linux
from scratchlab.errors import InputError, KernelError
from scratchlab.journal import start_time
from scratchlab.linux import Cap, CapSets, Mount, Prctl
from scratchlab.stages.filesystem import private_mounts
from scratchlab.stages.namespaces import unshare_mount, unshare_pid, unshare_user
from scratchlab.stages.privileges import Identity, close_fds, no_new_privs, parse_user, rlimits, user
from tests.conftest import eventually, held, in_child, needs_root, only_where
from tests.stages.processes import orphan, refused, sets, status

pytestmark = needs_root

CAN_RAISE_LIMITS = linux.capget().effective & linux.mask([Cap.SYS_RESOURCE])


# -- users ------------------------------------------------------------------------------------------------------------


def test_user_changes_every_id_and_takes_every_capability() -> None:
    with held(lambda: user(1000, 1001, [5, 6])) as pid:
        found = status(pid)

    assert found["Uid"].split() == ["1000"] * 4
    assert found["Gid"].split() == ["1001"] * 4
    assert found["Groups"].split() == ["5", "6"]
    assert sets(os.getpid())["CapEff"] and int(found["CapEff"], 16) == int(found["CapPrm"], 16) == 0


def test_the_group_is_the_users_number_and_other_groups_are_dropped_unless_given() -> None:
    with held(lambda: (os.setgroups([0, 6]), user(1000))) as pid:
        found = status(pid)

    assert (found["Gid"].split()[0], found["Groups"]) == ("1000", "")


def test_there_is_no_way_back_to_root() -> None:
    assert in_child(lambda: (user(1000), refused(lambda: os.setuid(0)))[1])


def test_another_user_still_dies_with_its_parent() -> None:
    with orphan(lambda: user(1000)) as child:
        assert eventually(lambda: start_time(child), 0) == 0


def test_an_id_that_is_not_mapped_is_explained() -> None:
    with pytest.raises(KernelError, match="map_ids"):
        in_child(lambda: (unshare_user(), user(1000)))


def test_groups_that_an_ordinary_users_namespace_keeps_do_not_stop_it() -> None:
    def act() -> tuple[int, int]:
        os.setgroups([])
        os.setresgid(1000, 1000, 1000)
        os.setresuid(1000, 1000, 1000)
        unshare_user()
        linux.write_file("/proc/self/setgroups", "deny")
        linux.write_file("/proc/self/gid_map", "0 1000 1")
        linux.write_file("/proc/self/uid_map", "0 1000 1")
        user(0)
        return os.getuid(), os.getgid()

    assert in_child(act) == (0, 0)
    with pytest.raises(KernelError, match="setgroups"):
        in_child(lambda: (linux.capset(CapSets(0, 0, 0)), user(0)))


def test_a_negative_id_is_refused() -> None:
    # For setresuid(2), -1 means "unchanged": the process would stay root.
    for arguments in [(-1,), (0, -1), (0, 0, [-1])]:
        with pytest.raises(InputError):
            in_child(lambda arguments=arguments: user(*arguments))


PASSWD = """# comment
root:x:0:0:root:/root:/bin/sh
www-data:x:33:34:www:/var/www:/bin/sh
1234:x:77:78::/:/bin/sh
broken:x:notanumber:1::/:
short:x
"""
GROUP = """root:x:0:
www-data:x:34:
staff:x:50:www-data,root
adm:x:4:root,www-data
noise:x:66:not-www-data
nobody-in-it:x:67
"""


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("root", Identity(0, 0, (50, 4))),
        ("www-data", Identity(33, 34, (50, 4))),
        ("33", Identity(33, 34, (50, 4))),
        ("www-data:staff", Identity(33, 50, ())),
        ("www-data:7", Identity(33, 7, ())),
        ("1000", Identity(1000, 1000, ())),
        ("1000:www-data", Identity(1000, 34, ())),
        ("1000:100", Identity(1000, 100, ())),
        ("1234", Identity(77, 78, ())),
        ("0", Identity(0, 0, (50, 4))),
    ],
)
def test_a_user_is_found_by_name_or_number(text: str, identity: Identity) -> None:
    assert parse_user(text, PASSWD, GROUP) == identity


@pytest.mark.parametrize("text", ["", "nobody", "broken", "short", "-1", "4294967295", "root:", "root:nogroup", ":", "¹", "1 "])
def test_a_user_that_is_not_there_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="has no"):
        parse_user(text, PASSWD, GROUP)


@given(st.text(), st.text(), st.text())
def test_no_text_makes_parse_user_fail_otherwise(text: str, passwd: str, group: str) -> None:
    try:
        uid, gid, _ = parse_user(text, passwd, group)
    except InputError:
        return
    assert 0 <= uid < 1 << 32 and 0 <= gid < 1 << 32


# -- no way up --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("promised", "uid"), [(False, "0"), (True, "1000")])
def test_a_setuid_program_raises_its_caller_only_without_the_promise(tmp_path: Path, promised: bool, uid: str) -> None:
    def act() -> str:
        unshare_mount()
        private_mounts()
        # A place that an ordinary user can reach, and where setuid bits count.
        linux.mount("tmpfs", "/mnt", "tmpfs", Mount(0), "mode=755")
        shutil.copy("/usr/bin/id", "/mnt/id")
        os.chmod("/mnt/id", 0o4755)
        if promised:
            no_new_privs()
        user(1000)
        return subprocess.run(["/mnt/id", "-u"], capture_output=True, text=True, check=True).stdout.strip()

    assert in_child(act) == uid


def test_the_kernel_reports_the_promise_and_keeps_it_for_children() -> None:
    with held(lambda: (no_new_privs(), unshare_pid())) as waiter:
        (child,) = Path(f"/proc/{waiter}/task/{waiter}/children").read_text().split()
        assert status(waiter)["NoNewPrivs"] == status(child)["NoNewPrivs"] == "1"

    assert linux.prctl(Prctl.GET_NO_NEW_PRIVS) == 0


def test_programs_inherit_no_file_that_was_left_open_and_we_keep_ours(tmp_path: Path) -> None:
    def act() -> tuple[list[str], bool, str]:
        leak = os.open("/", os.O_DIRECTORY)
        os.set_inheritable(leak, True)
        before = listing(leak)
        close_fds()
        return before, os.path.samestat(os.fstat(leak), os.stat("/")), listing(leak)[0]

    def listing(leak: int) -> list[str]:
        shown = subprocess.run(["ls", f"/proc/self/fd/{leak}/"], capture_output=True, text=True, check=False, close_fds=False)
        return shown.stdout.split() or ["nothing"]

    before, still_ours, after = in_child(act)
    assert sorted(before) == sorted(name for name in os.listdir("/") if not name.startswith("."))
    assert (still_ours, after) == (True, "nothing")


# -- limits -----------------------------------------------------------------------------------------------------------


def test_limits_hold_inside_and_the_host_reads_them() -> None:
    def act() -> None:
        rlimits(NOFILE=20, core=0, RLIMIT_NPROC=(64, 128))

    with held(act) as pid:
        limits = {line[:25].strip(): line[26:].split()[:2] for line in Path(f"/proc/{pid}/limits").read_text().splitlines()}

    assert limits["Max open files"] == ["20", "20"]
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max processes"] == ["64", "128"]
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 20

    def open_many() -> int:
        rlimits(NOFILE=20)
        try:
            while True:
                os.open("/dev/null", os.O_RDONLY)
        except OSError as error:
            return error.errno or 0

    assert os.strerror(in_child(open_many)) == "Too many open files"


@pytest.mark.parametrize(
    "limits", [{"SPEED": 1}, {"NOFILE": (2, 1)}, {"NOFILE": (-1, 5)}, {"NOFILE": -2}, {"NOFILE": ()}, {"NOFILE": (1, 2, 3)}]
)
def test_a_limit_that_cannot_be_is_refused_before_any_is_set(limits: dict[str, int]) -> None:
    def act() -> bool:
        before = resource.getrlimit(resource.RLIMIT_CORE)
        with pytest.raises(InputError):
            rlimits(CORE=0, **limits)
        return resource.getrlimit(resource.RLIMIT_CORE) == before

    assert in_child(act)


@only_where(not CAN_RAISE_LIMITS, "needs a machine on which root lacks CAP_SYS_RESOURCE")
def test_raising_a_hard_limit_names_the_missing_capability() -> None:
    with pytest.raises(KernelError, match="CAP_SYS_RESOURCE is missing"):
        in_child(lambda: (rlimits(NOFILE=20), rlimits(NOFILE=21)))
