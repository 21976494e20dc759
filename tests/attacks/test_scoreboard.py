"""The scoreboard as a reader has it: a table, its data, and its exit status; against containers and against sandboxes."""

import json
import re
from pathlib import Path

import pytest

from scratchlab import Container, Sandbox, scoreboard, stages
from scratchlab.attacks import ATTACKS
from scratchlab.errors import InputError
from scratchlab.trials.trial import GOT_OUT, NOT_TRIED, STOPPED
from tests.command_line import complains, said, scratchlab
from tests.conftest import needs_root

pytestmark = needs_root


def test_the_table_says_what_was_tried_and_which_stage_stopped_it(busybox_rootfs: Path) -> None:
    table = scoreboard(Container(str(busybox_rootfs), ()), "host_processes", "abstract_socket")

    assert [line.split("  ")[0] for line in repr(table).splitlines()] == ["attack", "host_processes", "abstract_socket"]
    assert re.search(r"^host_processes\s+stopped\s+unshare_pid\s+no process in /proc", repr(table), re.MULTILINE)
    assert table["abstract_socket"].walls == ("unshare_net",)
    assert table.got_out == []


def test_without_a_stage_what_it_stopped_gets_out_and_the_rest_does_not(busybox_rootfs: Path) -> None:
    container = Container(str(busybox_rootfs), ()).without("unshare_pid")
    table = scoreboard(container, "host_processes", "abstract_socket")

    assert table.got_out == ["host_processes"]
    assert table["host_processes"].host == "that is the host's secret"


def test_the_wall_that_is_named_is_the_one_that_stops_it_in_this_container(busybox_rootfs: Path) -> None:
    container = Container(str(busybox_rootfs), ())
    strong = container._replace(cap_add=("ALL",), security_opt=("seccomp=unconfined",))
    apart = strong._replace(userns="auto")

    assert scoreboard(container, "shared_mount")["shared_mount"].walls == ("private_mounts", "capabilities")
    assert scoreboard(strong, "shared_mount")["shared_mount"].walls == ("private_mounts",)
    assert scoreboard(strong, "keyring").got_out == ["keyring"]
    assert scoreboard(apart, "keyring")["keyring"].walls == ("unshare_user",)


def test_what_no_wall_of_its_own_stops_names_none(busybox_rootfs: Path) -> None:
    verdict = scoreboard(Container(str(busybox_rootfs), (), network="none"), "gateway_service")["gateway_service"]

    assert (verdict.outcome, verdict.walls) == (STOPPED, ())


def test_a_sandbox_is_attacked_as_it_stands_and_lives_on(busybox_rootfs: Path) -> None:
    with Sandbox("target") as box:
        for step in (stages.unshare_mount, stages.private_mounts):
            box.apply(step)
        box.apply(stages.chroot, str(busybox_rootfs))
        steps = list(box.steps)

        assert scoreboard(box, "double_chroot", "fork_bomb", "memory_bomb").got_out == [
            "double_chroot",
            "fork_bomb",
            "memory_bomb",
        ]
        assert box.steps == steps
        assert box.run("ls", "/").ok

        box.apply(stages.memory, "64M")
        box.apply(stages.pids, 20)
        assert [verdict.outcome for verdict in scoreboard(box, "fork_bomb", "memory_bomb").verdicts] == [STOPPED, STOPPED]
        assert box.run("ls", "/").ok


def test_a_chroot_is_left_by_a_second_one_and_a_pivoted_root_is_not(busybox_rootfs: Path) -> None:
    container = Container(str(busybox_rootfs), ()).without("capabilities")
    if "seccomp" in stages.STAGES:
        container = container.without("seccomp")

    assert scoreboard(container._replace(chroot=True), "double_chroot").got_out == ["double_chroot"]
    assert scoreboard(container, "double_chroot").got_out == []


def test_what_needs_a_weakness_before_the_sandbox_is_not_tried_and_says_so() -> None:
    with Sandbox("target") as box:
        verdict = scoreboard(box, "leaked_directory")["leaked_directory"]

    assert (verdict.outcome, verdict.seen) == (NOT_TRIED, "its weakness must be made before the sandbox")


def test_an_attack_that_does_not_exist_is_an_input_error(busybox_rootfs: Path) -> None:
    with pytest.raises(InputError, match="no such attack: magic"):
        scoreboard(Container(str(busybox_rootfs), ()), "magic")


def test_the_hosts_own_mounts_are_not_touched_where_private_mounts_is_missing(busybox_rootfs: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    verdict = scoreboard(Container(str(busybox_rootfs), (), left_out=frozenset({"private_mounts"})), "double_chroot")

    assert verdict["double_chroot"].outcome == STOPPED
    assert Path("/proc/self/mountinfo").read_text() == before


def test_nothing_of_a_lab_is_left_beside_the_root_filesystem(busybox_rootfs: Path) -> None:
    before = {path.name for path in busybox_rootfs.parent.iterdir()}, {path.name for path in busybox_rootfs.iterdir()}
    scoreboard(Container(str(busybox_rootfs), ()), "setuid_file", "image_tar", "device_node")

    assert ({path.name for path in busybox_rootfs.parent.iterdir()}, {path.name for path in busybox_rootfs.iterdir()}) == before


# -- at the command line ----------------------------------------------------------------------------------------------


def test_the_command_prints_the_table_and_fails_if_something_got_out(busybox_rootfs: Path) -> None:
    done = scratchlab("scoreboard", "--without", "unshare_pid", "--json", busybox_rootfs)
    outcomes = {verdict["attack"]: verdict["outcome"] for verdict in json.loads(done.stdout)}

    assert set(outcomes) == set(ATTACKS)
    assert outcomes["host_processes"] == GOT_OUT and outcomes["abstract_socket"] == STOPPED
    assert done.returncode == 1 and done.stderr == ""


def test_the_default_container_passes(busybox_rootfs: Path) -> None:
    assert said("scoreboard", busybox_rootfs).startswith("attack ")


def test_what_could_not_be_tried_is_not_taken_for_stopped(busybox_rootfs: Path) -> None:
    container = Container(str(busybox_rootfs), (), network="host")

    assert not scoreboard(container, "arp_spoof").held
    assert scoreboard(container, "double_chroot", "core_pattern").held
    assert not scoreboard(container, "double_chroot", "abstract_socket").held


def test_bad_input_is_told_before_anything_is_tried(busybox_rootfs: Path, tmp_path: Path) -> None:
    complains(2, "--without magic: no such stage", "scoreboard", "--without", "magic", busybox_rootfs)
    complains(2, "is empty|no root filesystem", "ablate", tmp_path / "nothing")
    complains(125, "you are not root, and to attack a container", "scoreboard", busybox_rootfs, nobody=True)
