"""The live sandbox: apply, undo, and nothing left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scratchlab import Sandbox, linux, stages
from scratchlab.errors import InputError, KernelError, SandboxError, ScratchlabError, StageError
from scratchlab.sandbox import client
from tests.conftest import eventually, needs_root

pytestmark = needs_root


def test_the_example_of_the_readme(box):
    ours = os.uname().nodename
    box.apply(stages.unshare_uts)

    applied = box.apply(stages.hostname, "web")

    assert box.run("hostname").out == "web"
    assert os.uname().nodename == ours
    assert [change.what for change in applied.inside] == ["hostname"]
    assert applied.outside == ()
    assert [call.name for call in applied.calls] == ["sethostname"]


def test_a_snapshot_of_a_newborn_sandbox_is_that_of_an_agent_that_is_ready():
    for _ in range(10):  # it is not ready at once, but soon: one of ten would be seen too early
        with Sandbox("newborn") as box:
            seen = box.snapshot()

        assert seen.command == "scratchlab" and {file.target for file in seen.files if file.fd < 3} == {"/dev/null"}


def test_what_an_apply_returns_can_be_narrowed_to_one_kind_of_change(box):
    applied = box.apply(stages.unshare_uts)

    assert [change.what for change in applied.only("uts namespace").changes] == ["uts namespace"]
    assert applied.only("mounts").changes == () and applied.only("mounts").calls == applied.calls


def test_what_an_apply_returns_reads_the_same_every_time():
    texts = set()
    for _ in range(2):
        with Sandbox("repr") as box:
            texts.add("\n".join([repr(box.apply(stages.unshare_uts)), repr(box.apply(stages.hostname, "web")), repr(box)]))

    assert len(texts) == 1
    assert "sethostname(name=" in texts.pop()


def test_a_stage_that_would_act_on_the_host_says_what_must_come_first(box):
    with pytest.raises(StageError, match="unshare_uts"):
        box.apply(stages.hostname, "web")
    with pytest.raises(StageError, match="unshare_mount"):
        box.apply(stages.pivot, "/tmp")

    assert box.steps == []


def test_a_learners_function_is_applied_like_ours(box):
    greeting = "hello"

    def rename(name):
        print(greeting)
        linux.unshare(linux.Clone.NEWUTS)
        linux.sethostname(name)
        return len(name)

    applied = box.apply(rename, "mine")

    assert box.run("hostname").out == "mine"
    assert (applied.value, applied.printed) == (4, "hello\n")
    assert [call.name for call in applied.calls] == ["unshare", "sethostname"]


def test_a_function_typed_into_a_plain_repl_is_applied():
    typed = """
from scratchlab import Sandbox, linux
box = Sandbox("typed")
def mine():
    linux.unshare(linux.Clone.NEWUTS)
    linux.sethostname("typed-in")

box.apply(mine).calls[0].name
box.run("hostname").out
exit()
"""
    session = subprocess.run([sys.executable, "-i", "-q"], input=typed, capture_output=True, text=True, timeout=60, check=True)

    assert session.stdout.split() == ["'unshare'", "'typed-in'"]


def test_what_a_learners_function_raises_reaches_the_learner_and_the_sandbox_lives_on(box):
    def wrong():
        return 1 / 0

    with pytest.raises(ScratchlabError, match="ZeroDivisionError: division by zero"):
        box.apply(wrong)
    with pytest.raises(KernelError, match="umount2"):
        box.apply(linux.umount2, "/nonsense")
    assert box.run("echo", "alive").out == "alive"


@pytest.mark.parametrize("stage", ["hostname", None, 3])
def test_what_is_no_stage_is_refused(box, stage):
    with pytest.raises(InputError, match="is not a stage"):
        box.apply(stage)


def test_arguments_that_cannot_travel_are_refused(box):
    with pytest.raises(InputError, match="cannot travel"):
        box.apply(stages.hostname, object())


def test_wrong_arguments_are_told_like_python_tells_them(box):
    box.apply(stages.unshare_uts)

    with pytest.raises(ScratchlabError, match="hostname"):
        box.apply(stages.hostname, "a", "b", "c", "d")


def test_undo_takes_back_the_last_step_and_only_that(box):
    box.apply(stages.unshare_uts)
    box.apply(stages.hostname, "one")
    box.apply(stages.hostname, "two")

    box.undo()

    assert box.run("hostname").out == "one"
    assert [step.name for step in box.steps] == ["unshare_uts", "hostname"]


def test_without_leaves_one_stage_out(box):
    box.apply(stages.unshare_uts)
    box.apply(stages.unshare_ipc)
    box.apply(stages.hostname, "web")

    box.without(stages.unshare_ipc)

    assert box.run("hostname").out == "web"
    assert os.readlink(f"/proc/{box.pid}/ns/ipc") == os.readlink("/proc/self/ns/ipc")


def test_a_replay_that_cannot_be_leaves_the_sandbox_as_it_was(box):
    box.apply(stages.unshare_uts)
    box.apply(stages.hostname, "web")

    with pytest.raises(StageError):
        box.without(stages.unshare_uts)

    assert box.run("hostname").out == "web"
    assert len(box.steps) == 2


def test_in_a_pid_namespace_the_agent_is_pid_1_and_the_host_knows_its_pid(box):
    before = box.pid
    box.apply(stages.unshare_pid)

    assert box.run("sh", "-c", "echo $PPID").out == "1"
    assert box.pid != before
    assert "NSpid:\t" + str(box.pid) + "\t1\n" in Path(f"/proc/{box.pid}/status").read_text()


def test_two_sandboxes_of_one_name_get_two_names(box):
    with Sandbox("test") as other:
        assert (box.name, other.name) == ("test", "test-2")


def test_a_closed_sandbox_says_so_and_can_be_closed_again(box):
    box.close()
    box.close()

    with pytest.raises(SandboxError, match="closed"):
        box.run("true")
    assert "closed" in repr(box)


def test_close_ends_every_process_of_the_sandbox(box):
    pid = int(box.run("sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!").out)

    box.close()

    assert eventually(lambda: os.path.exists(f"/proc/{pid}"), False) is False


PROGRAM = """
import os, sys, time
from scratchlab import Sandbox, stages
from scratchlab.sandbox import client
box = Sandbox("victim")
box.apply(stages.unshare_uts)
box.apply(stages.unshare_net)
box.apply(stages.veth)
box.apply(stages.memory, "64M")
daemon = box.run("sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!").out
print(box.pid, client.keeper().process.pid, daemon, flush=True)
time.sleep(1000)
"""


def _victim():
    program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    return program, [int(word) for word in program.stdout.readline().split()]


def _all_gone(pids):
    return eventually(lambda: [pid for pid in pids if os.path.exists(f"/proc/{pid}")], [])


def test_a_program_that_is_killed_leaves_nothing():
    program, pids = _victim()

    program.kill()
    program.wait()

    assert _all_gone(pids) == []


def test_a_program_that_just_ends_leaves_nothing_when_it_is_gone():
    text = PROGRAM.replace("time.sleep(1000)", "")
    pids = [
        int(word)
        for word in subprocess.run([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    ]

    assert [pid for pid in pids if os.path.exists(f"/proc/{pid}")] == []


def test_the_hosts_side_runs_nothing_that_lies_in_the_working_directory(tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('anybody may have put me here')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    program = "from scratchlab import Sandbox\nwith Sandbox('elsewhere') as box: print(box.run('echo', 'alive'))"

    done = subprocess.run([sys.executable, "-P", "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("alive\n", "")


def test_a_killed_keeper_is_cleaned_up_after_by_the_clean_command():
    program, (agent, keeper, daemon) = _victim()

    os.kill(keeper, signal.SIGKILL)
    assert _all_gone([agent]) == []
    cleaned = subprocess.run([sys.executable, "-m", "scratchlab.cli", "clean"], capture_output=True, text=True, check=True)

    assert "victim" in cleaned.stdout
    assert _all_gone([daemon]) == []
    program.kill()
    program.wait()


def test_after_the_death_of_the_keeper_a_new_sandbox_gets_a_new_one():
    with Sandbox("first") as box:
        keeper = client.keeper().process
        keeper.kill()
        keeper.wait()
        with pytest.raises(SandboxError):
            box.apply(stages.unshare_uts)
        with Sandbox("second") as other:
            assert other.run("echo", "fine").out == "fine"


def test_a_forked_child_of_the_program_does_not_keep_sandboxes_alive():
    text = PROGRAM.replace("time.sleep(1000)", "child = os.fork()\nprint(child, flush=True) if child else time.sleep(1000)")
    program = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    pids = [int(word) for word in program.stdout.readline().split()]
    child = int(program.stdout.readline())

    program.wait()

    assert _all_gone(pids) == []
    os.kill(child, 0)
    os.kill(child, signal.SIGKILL)
