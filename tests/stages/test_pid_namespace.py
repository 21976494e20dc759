"""Process 1 of a pid namespace, and the process that waits for it outside."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

import pytest

from scratchlab.journal import start_time
from scratchlab.stages import namespaces
from scratchlab.stages.filesystem import private_mounts
from scratchlab.stages.kernel_files import proc
from scratchlab.stages.namespaces import (
    continue_in_child,
    unshare_pid,
)
from tests.conftest import eventually, held, in_child, needs_root
from tests.stages.processes import only_child, started

pytestmark = needs_root


def test_the_process_goes_on_as_number_1_and_the_host_knows_it_by_another_number() -> None:
    assert in_child(lambda: (unshare_pid(), os.getpid())[1]) == 1

    with held(unshare_pid) as waiter:
        status = Path(f"/proc/{only_child(waiter)}/status").read_text()

    assert next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid"))[1:] == ["1"]


def test_the_proc_of_a_new_pid_namespace_shows_only_its_own_processes() -> None:
    def act() -> list[str]:
        unshare_pid()
        namespaces.unshare_mount()
        private_mounts()
        proc()
        return [entry for entry in os.listdir("/proc") if entry.isdigit()]

    assert in_child(act) == ["1"]


@pytest.mark.parametrize(
    ("ending", "status"),
    [("os._exit(0)", 0), ("os._exit(7)", 7), ("raise SystemExit(3)", 3), ("1/0", 1)],
)
def test_the_waiter_exits_with_the_status_of_process_1(ending: str, status: int) -> None:
    assert waiter_runs(ending).returncode == status


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
def test_the_waiter_dies_of_the_signal_that_killed_its_child(number: signal.Signals) -> None:
    # Without the pid namespace: of process 1, the kernel keeps off every signal that it does not handle but SIGKILL.
    waiter = started(unshare_pid if number == signal.SIGKILL else continue_in_child)

    os.kill(only_child(waiter), number)
    _, status = os.waitpid(waiter, 0)

    assert os.WTERMSIG(status) == number


def test_what_was_printed_before_is_printed_once() -> None:
    assert waiter_runs("print('after')", before="print('before')").stdout == "before\nafter\n"


def test_killing_the_waiter_kills_process_1() -> None:
    waiter = started(unshare_pid)
    init = only_child(waiter)
    assert start_time(init)

    os.kill(waiter, signal.SIGKILL)
    os.waitpid(waiter, 0)

    assert eventually(lambda: start_time(init), 0) == 0


def test_a_child_does_not_live_on_when_its_waiter_died_before_the_promise_to_die_with_it() -> None:
    reader, writer = os.pipe()
    if (waiter := os.fork()) == 0:
        me = os.getpid()

        def kill_waiter(_frame: FrameType, _event: str, _argument: object) -> object:
            # The first line of ours that the child comes to after fork(2).
            while os.getpid() != me == os.getppid():
                os.kill(me, signal.SIGKILL)
            return kill_waiter

        sys.settrace(kill_waiter)  # type: ignore[arg-type]
        continue_in_child()
        os.write(writer, b"the child lives")
        os._exit(0)
    os.close(writer)

    assert os.WTERMSIG(os.waitpid(waiter, 0)[1]) == signal.SIGKILL
    with open(reader) as stream:
        assert stream.read() == ""


def test_ctrl_c_reaches_process_1_and_not_the_waiter() -> None:
    done = "import signal; signal.signal(signal.SIGINT, lambda *_: os._exit(42)); print('ready', flush=True); signal.pause()"
    process = start_waiter(done)
    assert process.stdout is not None
    process.stdout.readline()

    os.killpg(process.pid, signal.SIGINT)

    assert process.wait(20) == 42


def test_ctrl_c_at_the_moment_of_the_fork_does_not_let_the_waiter_go_on_with_what_is_the_childs() -> None:
    if (waiter := os.fork()) == 0:
        me = os.getpid()

        def press(frame: FrameType, _event: str, _argument: object) -> object:
            # The first line of ours that the parent comes to after fork(2), and what others have it do then.
            ours = frame.f_globals["__name__"].startswith("scratchlab.")
            if ours and os.getpid() == me and Path(f"/proc/{me}/task/{me}/children").read_text():
                sys.settrace(None)
                os.kill(me, signal.SIGINT)
            return press

        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.settrace(press)  # type: ignore[arg-type]
        try:
            continue_in_child()
        finally:
            os._exit(7 if os.getpid() != me else 66)

    assert os.waitstatus_to_exitcode(os.waitpid(waiter, 0)[1]) == 7


def test_the_waiter_holds_no_file_open_and_leaves_no_zombie() -> None:
    def act() -> None:
        os.open("/dev/null", os.O_RDONLY)
        if os.fork() == 0:  # a child from before, which ends later, while the waiter waits
            while not Path(f"/proc/{os.getppid()}/task/{os.getppid()}/children").read_text().split()[1:]:
                pass
            os._exit(0)
        unshare_pid()

    with held(act) as waiter:
        files = eventually(lambda: sorted(int(fd) for fd in os.listdir(f"/proc/{waiter}/fd")), [0, 1, 2])
        children = eventually(lambda: len(Path(f"/proc/{waiter}/task/{waiter}/children").read_text().split()), 1)

    assert files == [0, 1, 2]
    assert children == 1


# -- helpers ----------------------------------------------------------------------------------------------------------


def start_waiter(after: str, before: str = "pass") -> "subprocess.Popen[str]":
    """A Python that applies unshare_pid between two pieces of code."""
    code = f"""
import os
from scratchlab.stages import stage
from scratchlab.stages.namespaces import unshare_pid
stage.serve()
{before}
unshare_pid()
{after}
"""
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True, process_group=0)


def waiter_runs(after: str, before: str = "pass") -> "subprocess.CompletedProcess[str]":
    process = start_waiter(after, before)
    out, err = process.communicate(timeout=20)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
