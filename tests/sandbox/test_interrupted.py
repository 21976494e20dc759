"""Ctrl-C, forks and lies: what may happen between a question and its answer."""

import os
import select
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from scratchlab import Sandbox, journal, stages
from scratchlab.errors import GoneError, SandboxError
from scratchlab.sandbox import client
from scratchlab.sandbox.wire import Channel
from tests.conftest import eventually, in_child, needs_root
from tests.survival import forked, is_gone, wait

pytestmark = needs_root


@contextmanager
def ctrl_c(when: Callable[[], object], then: Callable[[], object] = bool) -> Iterator[None]:
    """SIGINT to this process as soon as `when` says so; the block must be interrupted by it."""

    def press() -> None:
        assert eventually(lambda: bool(when()))
        os.kill(os.getpid(), signal.SIGINT)
        then()

    presser = threading.Thread(target=press)
    with pytest.raises(KeyboardInterrupt):
        presser.start()
        yield
    presser.join()


def children(pid: int) -> list[str]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()


# -- Ctrl-C -----------------------------------------------------------------------------------------------------------


def test_a_learners_function_that_never_ends_is_interrupted_and_the_sandbox_lives_on(box: Sandbox) -> None:
    def forever() -> None:
        import subprocess

        subprocess.run(["/bin/sleep", "1000"], check=False)

    with ctrl_c(lambda: children(box.pid)):
        box.apply(forever)

    assert box.run("echo", "alive", timeout=20).out == "alive"
    assert box.steps == []


def test_a_storm_of_ctrl_c_interrupts_steps_at_any_moment_and_does_not_end_the_sandbox(box: Sandbox) -> None:
    agent = box.pid
    if (storm := os.fork()) == 0:
        while True:
            os.kill(agent, signal.SIGINT)
            time.sleep(0.00002)  # without a pause, it would do nothing else than be interrupted
    try:
        for _ in range(1000):
            with suppress(SandboxError):
                box.play([stages.step(time.sleep, 0)])
    finally:
        os.kill(storm, signal.SIGKILL)
        os.waitpid(storm, 0)

    assert box.run("echo", "alive", timeout=20).out == "alive"


def test_the_late_answer_to_an_interrupted_question_is_not_taken_for_the_next_one() -> None:
    ours, theirs = Channel.pair()

    def answer_late() -> None:
        first, second = theirs.receive(), theirs.receive()  # the first is answered when nobody waits for it any more
        theirs.send({"ok": "late", "number": first.body["number"]})
        theirs.send({"ok": "right", "number": second.body["number"]})

    server = threading.Thread(target=answer_late)
    server.start()
    with ctrl_c(lambda: ours._asked):
        ours.ask({"do": "first"})

    assert ours.ask({"do": "second"}).body == {"ok": "right"}
    server.join()


LONG = {"do": "x" * (8 << 20)}  # longer than any socket's buffer: it is on its way for as long as the other end likes


def test_ctrl_c_in_the_middle_of_a_message_waits_for_its_end_and_the_conversation_goes_on() -> None:
    ours, theirs = Channel.pair()
    came = threading.Event()
    heard: list[Any] = []

    def listen() -> None:
        came.wait()  # until then, not even the first half is taken
        heard.append(theirs.receive().body)
        asked = theirs.receive().body
        theirs.send({"ok": "right", "number": asked["number"]})

    server = threading.Thread(target=listen)
    server.start()
    with ctrl_c(lambda: is_on_its_way(theirs), then=came.set):
        ours.ask(LONG)

    assert ours.ask({"do": "second"}).body == {"ok": "right"}
    server.join()
    assert heard == [{**LONG, "number": 1}]


def test_a_second_ctrl_c_gives_up_a_message_that_nobody_takes() -> None:
    ours, theirs = Channel.pair()

    def press_again() -> None:
        while ours.is_open:  # two that come too fast are one
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)

    with ctrl_c(lambda: is_on_its_way(theirs), then=press_again):
        ours.ask(LONG)

    assert not ours.is_open
    with pytest.raises(GoneError):
        ours.ask({"do": "second"})


def is_on_its_way(to: Channel) -> bool:
    return bool(select.select([to], [], [], 0)[0])


def test_a_command_whose_start_was_interrupted_does_not_run_on(box: Sandbox) -> None:
    pipes = [os.pipe() for _ in range(4)]
    body = {"do": "run", "argv": ["sleep", "1000"], "env": dict(os.environ), "cwd": None}
    box.ask(body, [pipes[0][0], *(writer for _, writer in pipes[1:])])
    assert eventually(lambda: len(children(box.pid))) == 1

    for pipe in pipes:  # as the finally of Sandbox.run does
        for end in pipe:
            os.close(end)

    assert eventually(lambda: children(box.pid), []) == []
    assert box.run("echo", "alive").out == "alive"


def interrupted_after(delay: float) -> bool:
    """Make and use a sandbox while Ctrl-C comes: whether it came in time."""
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        with Sandbox("shaken") as box:
            box.play([stages.step(stages.unshare_uts), stages.step(stages.hostname, "shaken")])
            box.run("true")
        timer.join()
    except KeyboardInterrupt:
        timer.join()
        return True
    return False


def test_ctrl_c_at_any_moment_leaves_a_program_whose_sandboxes_work() -> None:
    def program() -> None:
        interrupts = 0
        with Sandbox("steady") as steady:
            for delay in range(60):
                interrupts += interrupted_after(delay * 0.0005)
                assert steady.run("echo", str(delay), timeout=20).out == str(delay)
        assert interrupts > 20
        assert [found.name for found in journal.journals() if found.name.startswith(("shaken", "steady"))] == []
        client._hang_up()

    assert wait(forked(program)) == 0


# -- forks and threads ------------------------------------------------------------------------------------------------


def test_a_forked_child_cannot_use_the_sandboxes_of_its_parent_but_can_make_its_own(box: Sandbox) -> None:
    def child() -> tuple[str, str]:
        with pytest.raises(SandboxError, match="forked") as refused:
            box.run("true")
        box.close()  # of no effect on the parent's
        with Sandbox("childs") as own:
            said = own.run("echo", "own").out
        client._hang_up()
        return refused.value.message, said

    assert in_child(child) == ("this sandbox belongs to the program that forked this one", "own")
    assert box.run("echo", "alive").out == "alive"


def test_a_fork_while_another_thread_talks_to_the_keeper_can_talk_to_its_own(box: Sandbox) -> None:
    done = threading.Event()

    def talk() -> None:
        while not done.is_set():
            client.keeper()  # which takes a lock

    def child() -> str:
        signal.alarm(30)  # rather than wait for ever for a lock that nobody in here holds
        with Sandbox("childs") as own:
            said = own.run("echo", "own").out
        client._hang_up()
        return said

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        assert [in_child(child) for _ in range(5)] == ["own"] * 5
    finally:
        done.set()
        thread.join()


def test_unshare_pid_while_a_command_runs_tells_the_one_who_waits_for_it(box: Sandbox) -> None:
    told: list[BaseException] = []

    def wait_for_it() -> None:
        try:
            box.run("sleep", "1000")
        except SandboxError as error:
            told.append(error)

    waiter = threading.Thread(target=wait_for_it)
    waiter.start()
    assert eventually(lambda: len(children(box.pid))) == 1
    (command,) = children(box.pid)
    box.apply(stages.unshare_pid)
    waiter.join(20)

    assert "pid 1" in str(told[0])
    assert box.run("sh", "-c", "echo $PPID").out == "1"
    box.close()
    assert eventually(lambda: is_gone(int(command)))


# -- lies -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lie",
    [b"\xff\xff\xff\xffxxxx", struct.pack("!I", 4) + b"\0\0\0\0", struct.pack("!I", 2) + b"[]", b"\0"],
    ids=["a huge length", "no JSON", "no object", "half a length"],
)
def test_an_agent_that_lies_is_hung_up_on_and_the_keeper_takes_everything_back(box: Sandbox, lie: bytes) -> None:
    def speak_out_of_turn(lie: str) -> None:
        import stat

        for name in os.listdir("/proc/self/fd"):
            if stat.S_ISSOCK(os.stat(f"/proc/self/fd/{name}").st_mode):
                os.write(int(name), bytes.fromhex(lie))
        os._exit(0)

    with pytest.raises(GoneError):
        box.apply(speak_out_of_turn, lie.hex())
    with pytest.raises(GoneError):
        box.run("true")
    box.close()

    assert eventually(lambda: is_gone(box.pid))
    assert box.name not in [found.name for found in journal.journals()]


def test_a_closed_sandbox_wakes_the_thread_that_waits_for_it(box: Sandbox) -> None:
    told: list[Any] = []

    def forever() -> None:
        import subprocess

        subprocess.run(["/bin/sleep", "1000"], check=False)

    def apply() -> None:
        try:
            box.apply(forever)
        except SandboxError as error:
            told.append(type(error))

    thread = threading.Thread(target=apply)
    thread.start()
    assert eventually(lambda: len(children(box.pid))) == 1
    box.close()
    thread.join(20)

    assert told == [GoneError]
