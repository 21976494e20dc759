"""Namespaces, from both sides: what changes inside, and that the host stays as it was."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from scratchlab.errors import InputError, KernelError
from scratchlab.journal import Journal, start_time
from scratchlab.linux import NAMESPACES, recording
from scratchlab.stages import namespaces
from scratchlab.stages.id_maps import map_ids
from scratchlab.stages.namespaces import (
    hostname,
    join,
    unshare_pid,
    unshare_time,
    unshare_user,
    unshare_uts,
)
from scratchlab.stages.stage import Target, namespaces_of
from tests.conftest import eventually, held, in_child, needs_root
from tests.stages.processes import only_child, orphan

pytestmark = needs_root

ALONE = ("uts", "ipc", "mount", "net", "cgroup")


def target(pid: int) -> Target:
    return Target(pid, Journal(Path("/nonexistent/test.journal")))


@pytest.mark.parametrize("kind", ALONE)
def test_each_stage_leaves_one_namespace_and_no_other(kind: str) -> None:
    host = namespaces_of("self")

    with held(getattr(namespaces, f"unshare_{kind}")) as pid:
        inside = namespaces_of(pid)

    assert [name for name in NAMESPACES if inside[name] != host[name]] == [{"mount": "mnt"}.get(kind, kind)]
    assert namespaces_of("self") == host


def test_a_hostname_changes_inside_and_nowhere_else() -> None:
    ours = os.uname().nodename

    def act() -> tuple[str, str]:
        unshare_uts()
        hostname("web", "example.org")
        return os.uname().nodename, Path("/proc/sys/kernel/domainname").read_text()

    assert in_child(act) == ("web", "example.org\n")
    assert os.uname().nodename == ours


@pytest.mark.parametrize("name", ["", "x" * 65, "ü" * 33, "nul\0inside"])
def test_a_hostname_that_the_kernel_would_not_take_is_refused_before_any_call(name: str) -> None:
    def act() -> None:
        unshare_uts()
        with recording() as calls:
            try:
                hostname(name)
            finally:
                assert not calls

    with pytest.raises(InputError):
        in_child(act)


def test_the_longest_hostname_works() -> None:
    def act() -> str:
        unshare_uts()
        hostname("x" * 64)
        return os.uname().nodename

    assert in_child(act) == "x" * 64


def test_a_new_network_has_one_link_and_a_new_control_group_view_begins_at_the_root() -> None:
    def act() -> tuple[list[str], set[str]]:
        namespaces.unshare_net()
        namespaces.unshare_cgroup()
        links = Path("/proc/net/dev").read_text().splitlines()[2:]
        groups = {line.split(":")[2] for line in Path("/proc/self/cgroup").read_text().splitlines()}
        return [link.split(":")[0].strip() for link in links], groups

    links, groups = in_child(act)
    assert (links[0], groups) == ("lo", {"/"})


# -- clocks -----------------------------------------------------------------------------------------------------------


def test_clocks_run_ahead_inside_and_not_outside() -> None:
    day = 86_400
    before = time.clock_gettime(time.CLOCK_BOOTTIME)

    def act() -> tuple[float, float, float]:
        monotonic = time.monotonic()
        unshare_time(monotonic=-0.5, boottime=day)
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return time.clock_gettime(time.CLOCK_BOOTTIME), uptime, time.monotonic() - monotonic

    boottime, uptime, monotonic = in_child(act)

    after = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before + day <= boottime <= after + day
    assert before + day - 1 <= uptime <= after + day
    assert -0.5 <= monotonic <= -0.5 + (after - before)


def test_a_clock_that_is_no_number_or_before_zero_is_refused() -> None:
    with pytest.raises(InputError):
        in_child(lambda: unshare_time(boottime=float("nan")))
    with pytest.raises(KernelError, match="ERANGE"):
        in_child(lambda: unshare_time(boottime=-1e12))


# -- users ------------------------------------------------------------------------------------------------------------


def test_a_new_user_namespace_gives_every_capability_and_nobodys_id() -> None:
    with held(unshare_user) as pid:
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        uid = next(line for line in status if line.startswith("Uid"))
        maps = Path(f"/proc/{pid}/uid_map").read_text()

    assert in_child(lambda: (unshare_user(), os.getuid())[1]) == 65534
    assert (uid.split()[1], maps) == ("0", "")


def test_map_ids_makes_root_inside_of_an_ordinary_user_outside() -> None:
    with held(unshare_user) as pid:
        map_ids(target(pid), outside=100_000, count=10)
        inside = subprocess.run(
            ["nsenter", "--user", "--target", str(pid), "--setuid", "3", "--setgid", "3", "cat", "/proc/self/uid_map"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        maps = [Path(f"/proc/{pid}/{name}").read_text().split() for name in ("uid_map", "gid_map")]

    assert maps == [["0", "100000", "10"]] * 2
    assert inside.split() == ["0", "100000", "10"]


def test_an_ordinary_user_can_map_itself_to_root() -> None:
    def act() -> tuple[list[str], list[str], str, int]:
        os.setgroups([])
        os.setresgid(1000, 1000, 1000)
        os.setresuid(1000, 1000, 1000)
        with held(unshare_user) as pid:
            map_ids(target(pid))
            maps = [Path(f"/proc/{pid}/{name}").read_text().split() for name in ("uid_map", "gid_map")]
            owner = Path(f"/proc/{pid}/status").stat().st_uid
            return maps[0], maps[1], Path(f"/proc/{pid}/setgroups").read_text(), owner

    assert in_child(act) == (["0", "1000", "1"], ["0", "1000", "1"], "deny\n", 1000)


def test_a_process_in_a_new_user_namespace_still_dies_with_its_parent() -> None:
    with orphan(unshare_user) as child:
        assert eventually(lambda: start_time(child), 0) == 0


def test_a_second_map_is_refused_and_the_error_says_why() -> None:
    with held(unshare_user) as pid:
        map_ids(target(pid))
        with pytest.raises(KernelError, match="written once"):
            map_ids(target(pid))


# -- joining ----------------------------------------------------------------------------------------------------------


def test_join_enters_only_the_namespaces_that_are_named() -> None:
    def act() -> None:
        for kind in ALONE:
            getattr(namespaces, f"unshare_{kind}")()
        hostname("joined")

    with held(act) as pid:
        theirs = namespaces_of(pid)
        inside, name = in_child(lambda: (join(pid, "uts", "net"), namespaces_of("self"), os.uname().nodename)[1:])

    assert name == "joined"
    assert [kind for kind in NAMESPACES if inside[kind] == theirs[kind]] == ["net", "pid", "time", "user", "uts"]


def test_join_without_names_enters_all_of_them_with_one_call() -> None:
    def act() -> None:
        unshare_user()
        for kind in ALONE:
            getattr(namespaces, f"unshare_{kind}")()
        unshare_pid()

    def enter(pid: int) -> tuple[dict[str, str], list[str]]:
        with recording() as calls:
            join(pid)
        return namespaces_of("self"), [call.name for call in calls]

    with held(act) as waiter:
        init = only_child(waiter)
        map_ids(target(init))
        theirs = namespaces_of(init)
        ours, calls = in_child(lambda: enter(init))

    assert ours == theirs
    assert calls.count("setns") == 1


def test_join_refuses_what_is_no_namespace_and_a_process_that_is_gone() -> None:
    with pytest.raises(InputError, match="mount"):
        in_child(lambda: join(os.getpid(), "mount"))
    with pytest.raises(KernelError, match="ESRCH"):
        in_child(lambda: join(2**22 - 1))
