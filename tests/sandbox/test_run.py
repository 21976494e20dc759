"""Running commands in a sandbox."""

import os
import resource
import threading
import time
from pathlib import Path

import pytest

from scratchlab import Sandbox
from scratchlab.errors import InputError, KernelError, SandboxError
from scratchlab.sandbox import client
from tests.conftest import eventually, in_child, needs_root

pytestmark = needs_root


def test_output_status_and_signal_come_back(box):
    both = box.run("sh", "-c", "echo out; echo err >&2; exit 3")
    killed = box.run("sh", "-c", "kill -USR1 $$")

    assert (both.out, both.err, both.status, both.signal, both.code) == ("out", "err", 3, None, 3)
    assert (killed.status, killed.signal, killed.code) == (None, "SIGUSR1", 138)


def test_input_environment_and_directory_reach_the_command(box):
    ran = box.run("sh", "-c", 'cat; echo "$WORD"; pwd', input="in\n", env={"WORD": "hello"}, cwd="/usr")

    assert ran.lines == ["in", "hello", "/usr"]


def test_the_environment_can_be_replaced_whole(box):
    assert box.run("/usr/bin/env", env={"ONLY": "this"}, inherit=False).lines == ["ONLY=this"]


def test_when_a_command_is_over_the_sandbox_has_none_of_its_pipes_open(box):
    def open_files():
        return set(os.listdir(f"/proc/{box.pid}/fd"))

    box.run("true")
    before = open_files()

    assert [open_files() - before for _ in range(200) if box.run("true").ok] == [set()] * 200


def test_a_command_without_input_reads_the_end_of_file_at_once(box):
    assert box.run("cat", timeout=20).out == ""


def test_output_is_streamed_while_the_command_runs(box):
    pieces, seen_while_running = [], threading.Event()

    def sink(text):
        pieces.append(text)
        seen_while_running.set()

    runner = threading.Thread(
        target=lambda: box.run("sh", "-c", "echo first; cat /proc/self/fd/0 >/dev/null; sleep 0.3; echo last", stream=sink)
    )
    runner.start()

    assert seen_while_running.wait(20)
    assert runner.is_alive()
    runner.join(20)
    assert "".join(pieces) == "first\nlast\n"


def test_a_hundred_megabytes_neither_block_nor_fill_memory(box):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    ran = box.run("sh", "-c", "head -c 100000000 /dev/zero | tr '\\0' 'x'; echo; echo the end")

    assert ran.ok
    assert ran.out.startswith("x") and ran.out.endswith("the end") and "bytes dropped" in ran.out
    assert ran.dropped > 50_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB; twice the output would be 200 MB


def test_a_command_out_of_time_is_asked_to_end(box):
    ran = box.run("sleep", "1000", timeout=0.1)

    assert (ran.timed_out, ran.signal) == (True, "SIGTERM")


def test_a_command_that_ignores_sigterm_is_killed(box):
    ran = box.run("sh", "-c", "trap '' TERM; while :; do sleep 1; done", timeout=0.1)

    assert (ran.timed_out, ran.signal) == (True, "SIGKILL")


def test_a_command_that_leaves_a_daemon_behind_does_not_keep_us_waiting(box):
    ran = box.run("sh", "-c", "sleep 1000 & echo $!", timeout=20)

    assert not ran.timed_out
    assert os.path.exists(f"/proc/{ran.out}")
    box.close()
    assert eventually(lambda: os.path.exists(f"/proc/{ran.out}"), False) is False


def test_a_daemon_that_talks_on_and_on_does_not_keep_us_waiting(box):
    slowly = lambda _text: time.sleep(0.01)  # noqa: E731  slower than what it says: its pipe is never empty
    ran = box.run("sh", "-c", "yes & sleep 0.1; echo last >&2", stream=slowly)

    assert ran.ok and ran.out.startswith("y\ny\n") and ran.err == "last"


def test_a_command_runs_where_a_thousand_files_are_open_on_the_hosts_side():
    def act():
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        for _ in range(1100):
            os.open("/dev/null", os.O_RDONLY)
        with Sandbox("crowded", keeper=client.LocalKeeper()) as box:
            return box.run("echo", "alive").out

    assert in_child(act) == "alive"


def test_a_program_that_is_not_there_is_named(box):
    with pytest.raises(KernelError, match=r'execve\(pathname="nonsense"\).*\n.*no directory of PATH') as caught:
        box.run("nonsense")
    assert isinstance(caught.value, FileNotFoundError) or caught.value.errno == 2


def test_a_directory_that_is_not_there_is_named(box):
    with pytest.raises(KernelError, match=r'chdir\(path="/nonsense"\)'):
        box.run("true", cwd="/nonsense")


@pytest.mark.parametrize("argv", [(), ("a\0b",), (1, 2)])
def test_what_is_no_command_is_refused(box, argv):
    with pytest.raises(InputError):
        box.run(*argv)


def test_four_threads_can_run_commands_in_one_sandbox(box):
    outs = {}

    def one(number):
        outs[number] = box.run("sh", "-c", f"sleep 0.05; echo {number}").out

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert outs == {number: str(number) for number in range(4)}


def test_orphans_are_reaped(box):
    box.run("sh", "-c", "(sleep 0.05 & ) ; true")

    assert eventually(lambda: _zombies_of(box.pid), []) == []


def _children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _zombies_of(pid):
    return [child for child in _children_of(pid) if "\nState:\tZ" in Path(f"/proc/{child}/status").read_text()]


def test_the_death_of_the_agent_during_a_run_is_told(box):
    def kill_soon():
        eventually(lambda: len(_children_of(box.pid)) > 0)
        os.kill(box.pid, 9)

    threading.Thread(target=kill_soon).start()

    with pytest.raises(SandboxError, match="died"):
        box.run("sleep", "1000")


def test_a_command_that_cannot_be_started_leaves_no_file_open(box):
    before = len(os.listdir("/proc/self/fd"))

    for _ in range(3):
        with pytest.raises(KernelError):
            box.run("/nowhere")

    assert len(os.listdir("/proc/self/fd")) == before


def test_a_command_can_die_of_a_signal_that_has_no_name(box):
    finished = box.run("bash", "-c", "kill -40 $$")

    assert (finished.signal, finished.code) == ("SIGRTMIN+6", 128 + 40)


def test_what_is_no_environment_is_refused(box):
    with pytest.raises(InputError, match=r"env: .* is not"):
        box.run("true", env={"A": 1})
