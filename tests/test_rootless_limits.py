"""Limits of an ordinary user's containers: through what was delegated to her, and said where nothing was."""

import os
from pathlib import Path

import pytest

from scratchlab.linux import cgroupfs
from tests.command_line import group_of
from tests.conftest import eventually, needs_root, only_where
from tests.ordinary import UID, Ordinary, delegated

pytestmark = needs_root

NONE = ("--network", "none")
FOREVER = ("bash", "-c", "echo ready; sleep 1000")
V1 = tuple(name for name in ("cpu", "cpuacct", "memory", "pids") if Path("/sys/fs/cgroup", name, "cgroup.procs").exists())
UNIFIED = "unified" if Path("/sys/fs/cgroup/unified/cgroup.controllers").exists() else ""

needs_v1 = only_where(len(V1) == 4, "needs version 1 of control groups: boot with systemd.unified_cgroup_hierarchy=0")
needs_v2 = only_where(UNIFIED or Path("/sys/fs/cgroup/cgroup.controllers").exists(), "needs version 2 of control groups")


def test_without_delegation_a_note_says_which_limits_are_missing_and_what_to_do(ann: Ordinary) -> None:
    done = ann.scratchlab("run", *NONE, ann.rootfs, "true")
    quiet = ann.scratchlab("run", *NONE, "--cpus", "none", "--memory", "none", "--pids", "none", ann.rootfs, "true")

    assert done.returncode == 0
    assert "note: no limit is set on cpu, memory, pids: control groups are root's here" in done.stderr
    assert "systemd-run --user --scope" in done.stderr
    assert "no limit" not in quiet.stderr


@pytest.mark.parametrize(("option", "value"), [("--memory", "64M"), ("--cpus", "0.5"), ("--pids", "9")])
def test_a_limit_that_was_asked_for_and_cannot_be_set_is_an_error(ann: Ordinary, option: str, value: str) -> None:
    done = ann.scratchlab("run", *NONE, option, value, ann.rootfs, "echo", "ran")

    assert (done.returncode, done.stdout) == (125, "")
    assert f"{option} {value} cannot be set: control groups are root's here" in done.stderr


def test_a_library_user_sees_the_notes_too(ann: Ordinary) -> None:
    program = """
import sys
from scratchlab import Container
container = Container(sys.argv[1], ("true",), network="none")
print(*container.notes, *container.run().notes, sep="\\n")
"""
    notes = [line for line in ann.python(program, ann.rootfs).splitlines() if line.startswith("no limit is set")]

    assert len(notes) == 2


@needs_v1
def test_delegated_groups_of_version_1_hold_her_limits(ann: Ordinary) -> None:
    with delegated(ann, *V1) as (here, groups):
        words = ("run", *NONE, "--memory", "64M", "--name", "held", here.rootfs, *FOREVER)
        with here.running(*words, says="ready"):
            pid = here.init_of("held")
            held = {tree: group_of(pid, tree) for tree in V1}
            shown = {name: (held[tree] / name).read_text().strip() for tree, name in (
                ("memory", "memory.limit_in_bytes"), ("pids", "pids.max"), ("cpu", "cpu.cfs_quota_us"))}  # fmt: skip
            entered = here.said("exec", "held", "cat", "/proc/self/cgroup")

        assert held == {tree: groups[tree] / "scratchlab/held" for tree in V1}
        assert shown == {"memory.limit_in_bytes": str(64 << 20), "pids.max": "512", "cpu.cfs_quota_us": "20000"}
        assert entered.count(":/\n") >= len(V1)
        assert not any((group / "scratchlab").exists() for group in groups.values())


@needs_v1
def test_a_delegated_limit_is_enforced_and_the_reason_told(ann: Ordinary) -> None:
    greedy = "x = bytearray(256 << 20)\nfor i in range(0, 256 << 20, 4096): x[i] = 1"
    with delegated(ann, *V1) as (here, _):
        done = here.scratchlab("run", *NONE, "--memory", "64M", "--cpus", "1", here.rootfs, "python3", "-c", greedy)

    assert (done.returncode, done.stderr) == (137, "scratchlab: killed: out of memory, limit 64 MB\n")


@needs_v1
def test_what_a_killed_command_left_in_delegated_groups_is_cleaned_up_from_elsewhere(ann: Ordinary) -> None:
    with delegated(ann, *V1) as (here, groups):
        with here.running("run", *NONE, "--name", "killed", here.rootfs, *FOREVER, says="ready") as process:
            here.init_of("killed")
            process.kill()
            process.wait()
        assert (groups["memory"] / "scratchlab/killed").exists()

        assert "cleaned killed" in ann.said("clean")  # by a session that has no delegated group itself
        assert not any((group / "scratchlab").exists() for group in groups.values())


@needs_v2
def test_a_delegated_group_of_version_2_tracks_her_processes(ann: Ordinary) -> None:
    with delegated(ann, UNIFIED) as (here, groups):
        with here.running("run", *NONE, "--name", "tracked", here.rootfs, *FOREVER, says="ready"):
            pid = here.init_of("tracked")
            group = groups[UNIFIED] / "scratchlab/tracked"

            assert str(pid) in (group / "cgroup.procs").read_text().split()
            assert group.stat().st_uid == UID
        assert eventually(group.exists, False) is False


@needs_v2
def test_the_highest_group_without_processes_is_the_one_to_divide(ann: Ordinary) -> None:
    program = "from scratchlab.linux import cgroupfs; print([h.home for h in cgroupfs.layout().hierarchies if h.version == 2][0])"
    with delegated(ann, UNIFIED) as (here, groups):
        assert here.python(program).strip() == str(groups[UNIFIED])
        own = group_of(os.getpid(), "none")  # version 2's
        (groups[UNIFIED] / "cgroup.procs").write_text(str(os.getpid()))
        try:
            assert here.python(program).strip() == str(groups[UNIFIED] / "session")
        finally:
            (own / "cgroup.procs").write_text(str(os.getpid()))
    assert ann.python(program).strip() == next(h.mount for h in cgroupfs.layout().hierarchies if h.version == 2)
