"""Commands that are started and not waited for, and commands on both sides."""

import fcntl
import os
import signal
import struct
import termios
import threading
from pathlib import Path

import pytest

from scratchlab import stages
from scratchlab.errors import InputError, KernelError
from scratchlab.linux.proc import parse_stat
from tests.conftest import eventually, needs_root

pytestmark = needs_root


def commands(box):
    """What runs below a sandbox, as the host sees it."""
    return [name for pid in children(box) if (name := _comm(pid))]


def children(box):
    return Path(f"/proc/{box.pid}/task/{box.pid}/children").read_text().split()


def _comm(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:  # it ended since
        return ""


def test_a_started_command_runs_until_it_is_stopped(box):
    running = box.start("sleep", "1000")
    assert not running.ended() and eventually(lambda: commands(box), ["sleep"]) == ["sleep"]
    assert repr(running) == "[sleep 1000: runs]"

    finished = running.stop()

    assert finished.signal == "SIGTERM" and not finished.timed_out
    assert running.ended() and running.stop() == running.wait() == finished
    assert eventually(lambda: commands(box), []) == []


def test_other_commands_run_meanwhile(box):
    running = box.start("cat", input="later")

    assert box.run("echo", "now").out == "now"
    assert running.wait().out == "later"


def test_a_command_that_ignores_being_asked_is_killed(box):
    running = box.start("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    assert not running.ended(patience=0.2)

    assert running.stop().signal == "SIGKILL"


def test_what_it_says_is_kept_while_nobody_waits(box):
    running = box.start("sh", "-c", "echo one; echo two >&2; exit 4")

    assert eventually(running.ended)
    assert (running.wait().out, running.wait().err, running.wait().status) == ("one", "two", 4)


def test_a_command_that_nobody_holds_is_killed(box):
    running = box.start("sleep", "1000")
    assert eventually(lambda: commands(box), ["sleep"]) == ["sleep"]

    del running

    assert eventually(lambda: commands(box), []) == []


def test_a_command_is_not_taken_for_one_that_ended_and_was_let_go_at_the_same_moment(box):
    said = []
    running = box.start("sleep", "1000")
    (command,) = children(box)

    os.kill(box.pid, signal.SIGSTOP)  # so that the agent comes to know all three at once
    assert eventually(lambda: state(box.pid), "T") == "T"
    os.kill(int(command), signal.SIGKILL)
    assert eventually(lambda: state(command), "Z") == "Z"
    del running
    later = threading.Thread(target=lambda: said.append(box.run("echo", "alive")))
    later.start()
    assert eventually(lambda: bool(unread(box)))
    os.kill(box.pid, signal.SIGCONT)
    later.join(20)

    assert [done.out for done in said] == ["alive"]


def state(pid):
    return parse_stat(Path(f"/proc/{pid}/stat").read_text()).state


def unread(box):
    """How many bytes are on their way to the agent.  unix(7)"""
    (count,) = struct.unpack("i", fcntl.ioctl(box._channel.fileno(), termios.TIOCOUTQ, bytes(4)))
    return count


def test_what_cannot_be_executed_leaves_no_file_descriptor_behind(box):
    box.run("true")
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(KernelError):
        box.run("no-such-program")

    assert len(os.listdir("/proc/self/fd")) == before


# -- both sides -------------------------------------------------------------------------------------------------------


def test_both_sides_say_what_they_see(box):
    box.apply(stages.unshare_uts)
    box.apply(stages.hostname, "web")

    both = box.both("hostname")

    assert (both.inside.out, both.host.out) == ("web", os.uname().nodename)
    assert not both.same and box.both("echo", "x").same
    assert both.lines == (1, 1)
    assert [word.strip() for word in repr(both).splitlines()[0].split("│")] == [box.name, "host"]


def test_both_sides_read_the_same_input_and_end_in_the_same_time(box):
    assert box.both("cat", input="text").host.out == "text"
    late = box.both("sleep", "1000", timeout=0.2)
    assert late.inside.timed_out and late.host.timed_out
    assert box.both("sh", "-c", "kill -9 $$").host.signal == "SIGKILL"


def test_what_a_command_leaves_running_is_waited_for_on_neither_side(box):
    both = box.both("sh", "-c", "sleep 60 & echo $!")

    # For a moment after the fork, it is still called sh.
    assert eventually(lambda: commands(box), ["sleep"]) == ["sleep"]
    assert eventually(lambda: _comm(both.host.out), "sleep") == "sleep"
    os.kill(int(both.host.out), signal.SIGKILL)


def test_a_signal_without_a_name_is_told_on_both_sides(box):
    both = box.both("sh", "-c", "kill -40 $$")

    assert both.inside.signal == both.host.signal == "SIGRTMIN+6"


def test_a_long_line_is_cut_and_the_whole_of_it_is_in_the_result(box):
    both = box.both("echo", "x" * 300)

    assert max(map(len, repr(both).splitlines())) < 140 and both.host.out == "x" * 300


def test_an_option_that_only_one_side_has_is_refused(box):
    with pytest.raises(InputError, match="env"):
        box.both("true", env={})


def test_what_is_not_there_on_either_side_is_an_error(box):
    with pytest.raises(KernelError, match="execve"):
        box.both("no-such-program")
