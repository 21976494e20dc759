"""What lessons 13 and 14 try and record: the dozen operations, a program's calls, and a program behind a filter."""

import pytest

from scratchlab import Sandbox, linux, stages
from scratchlab.errors import KernelError
from scratchlab.lessons.experiments import asked
from scratchlab.lessons.powers import DOZEN, one_by_one, powers
from scratchlab.lessons.recording import CANNOT, confined, record
from scratchlab.stages import step
from scratchlab.stages.filters import filter_of
from tests.conftest import needs_root

pytestmark = needs_root


@pytest.fixture
def apart():
    with Sandbox("apart") as box:
        box.play([step(stages.unshare_net), step(stages.unshare_mount), step(stages.private_mounts)])
        yield box


def test_each_capability_of_the_dozen_opens_one_door_and_no_other(apart):
    assert powers(apart).refused == []
    assert one_by_one(apart).refused == {each.needs: [each.says] for each in DOZEN}


def test_who_has_one_capability_can_do_one_thing(apart):
    apart.apply(stages.capabilities, ["CHOWN"])

    assert set(powers(apart).refused) == {each.says for each in DOZEN} - {"give a file away"}
    assert len(repr(powers(apart)).splitlines()) == 12


def test_a_recording_has_the_calls_of_the_program_alone(tmp_path):
    (tmp_path / "file").write_text("swordfish")
    with Sandbox("recorded") as box:
        seen = record(box, "cat", str(tmp_path / "file"))
        made = record(box, "mkdir", str(tmp_path / "made"))

    assert {"read", "write", "exit_group"} <= set(seen.calls) and len(set(seen.calls)) == len(seen.calls)
    assert not {"execve", "ptrace", "kill", "mkdir", "mkdirat"} & set(seen.calls)
    assert {"mkdir", "mkdirat"} & set(made.calls) and (tmp_path / "made").is_dir()
    assert repr(seen).startswith(f"cat {tmp_path}/file: {len(seen.calls)} different system calls\n")


def test_a_signal_reaches_a_program_that_is_recorded():
    with Sandbox("recorded") as box:
        assert "kill" in record(box, "sh", "-c", "kill -TERM $$").calls


def test_a_program_runs_behind_a_filter_and_its_sandbox_stays_free(tmp_path):
    with Sandbox("confined") as box:
        refused = confined(box, filter_of(["mkdir", "mkdirat"]), "mkdir", str(tmp_path / "refused"))
        unstarted = confined(box, filter_of(["execve"]), "true")
        killed = confined(box, filter_of(["mkdir", "mkdirat"], "kill"), "mkdir", str(tmp_path / "killed"))
        free = box.run("mkdir", str(tmp_path / "free"))

    assert (refused.status, unstarted.status, killed.signal) == (1, CANNOT, "SIGSYS")
    assert free.ok and [path.name for path in tmp_path.iterdir()] == ["free"]


def test_what_is_asked_of_a_sandbox_is_no_step_of_it_and_its_error_comes_out():
    with Sandbox("asked") as box:
        assert asked(box, lambda number: number + 1, 41) == 42
        with pytest.raises(KernelError, match="No such file"):
            asked(box, lambda: linux.mkdir("/no/such/directory"))
        assert box.steps == []
