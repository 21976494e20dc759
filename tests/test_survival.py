"""Killed at any moment: whoever dies, and whenever, nothing of a container remains, and the machine is as it was."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType

import pytest

from scratchlab import journal
from scratchlab.container import BORN, Container
from scratchlab.errors import ScratchlabError
from scratchlab.sandbox import client
from scratchlab.sandbox.sandbox import Sandbox
from tests.conftest import needs_root
from tests.survival import PREFIX, SLOW, difference, forked, is_gone, kill, left, on_a_machine_of_its_own, told, wait

pytestmark = needs_root

# The host's side: every module that makes or takes back something outside of the sandbox.
HOSTS_SIDE = (
    "journal", "shared", "sandbox/keeper", "stages/cgroups", "stages/network", "stages/subnets", "stages/ports",
    "stages/claims", "stages/subids", "stages/id_maps", "stages/idmapped", "stages/helpers",
    "linux/cgroupfs", "linux/cgroup_fork", "linux/netlink", "linux/nftables",
)  # fmt: skip


def container(rootfs: Path, name: str, userns: str = "") -> Container:
    """One with everything that the host does for a container: limits, a network, a published port, mount points, ids."""
    return Container(str(rootfs), ("sleep", "1000"), name=f"{PREFIX}-{name}", publish=("18080:80",), userns=userns)


userns = pytest.mark.parametrize("userns", ["", "auto"], ids=["root", "userns"])


# -- at every step ----------------------------------------------------------------------------------------------------


def play(made: Container, victim: str, stop: int, tell: int, go_on: int) -> None:
    """What Container.started() does, one step at a time, with a rest after `stop` steps, in which somebody may die."""
    keeper, plan = VICTIMS[victim][0](), made.plan()
    # The waiter is only there where unshare_pid was a step, as in a lesson.
    born = [step.name for step in plan if step.name in BORN and victim != "the waiter"]
    plan = [step for step in plan if step.name not in born]
    box = Sandbox(
        made.name, keeper=keeper, exact=True, controllers=made._controllers(made.means()), born=[BORN[name] for name in born]
    )
    waiter = box.pid
    try:
        for step in plan[:stop]:
            box.play([step])
        server = keeper.process.pid if isinstance(keeper, client.RemoteKeeper) else 0
        os.write(tell, f"{waiter} {box.pid} {server}\n".encode())
        os.read(go_on, 1)
        with suppress(ScratchlabError):  # told in words: that is all that is asked of the dead
            for step in plan[stop:]:
                box.play([step])
            box.run("true")
    finally:
        box.close()


def resting(made: Container, victim: str, stop: int) -> tuple[int, list[int], int]:
    """A program that rests after `stop` steps: its pid, those of waiter, agent and keeper, and how to wake it."""
    (tell_out, tell_in), (go_out, go_in) = os.pipe(), os.pipe()

    def program() -> None:
        for end in (tell_out, go_in):
            os.close(end)
        play(made, victim, stop, tell_in, go_out)
        client._hang_up()  # as at the end of any program

    pid = forked(program)
    for end in (tell_in, go_out):
        os.close(end)
    pids = [int(word) for word in told(tell_out).split()]
    os.close(tell_out)
    return pid, pids, go_in


VICTIMS: dict[str, tuple[Callable[[], client.KeeperLike], int]] = {
    "the command line": (client.LocalKeeper, -1),
    "the agent": (client.LocalKeeper, 1),
    "the waiter": (client.LocalKeeper, 0),
    "the program": (client.RemoteKeeper, -1),
    "the keeper": (client.RemoteKeeper, 2),
}


@userns
@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_after_any_step_of_the_plan_nothing_is_left(busybox_rootfs: Path, victim: str, userns: str) -> None:
    index = VICTIMS[victim][1]
    made = container(busybox_rootfs, "step", userns)

    def act() -> dict[int, object]:
        wrong: dict[int, object] = {}
        before = left()
        for stop in range(len(made.plan()) + 1):
            program, pids, go_on = resting(made, victim, stop)
            kill([*pids, program][index])
            if victim == "the keeper":
                journal.clean()  # while the program lives, but rests
            os.close(go_on)  # the program, if it lives, goes on, and ends
            status = wait(program)
            if victim == "the command line":  # it was its own keeper
                journal.clean()
            expected = -signal.SIGKILL if index == -1 else 0
            if (found := difference(before)) or status != expected:
                wrong[stop] = (status, found)
                break  # after each, it would be waited for again
        return wrong

    assert on_a_machine_of_its_own(act) == {}


# -- at any line of the host's side -----------------------------------------------------------------------------------


def die_at(line: int) -> None:
    """Kill this process with SIGKILL at the `line`th line of the host's side that it comes to."""
    root = Path(journal.__file__).parent
    ours = {str(root / f"{module}.py") for module in HOSTS_SIDE}
    count = 0

    def trace(frame: FrameType, event: str, _argument: object) -> object:
        nonlocal count
        if frame.f_code.co_filename not in ours:
            return None
        count += event == "line"
        if count == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)  # type: ignore[arg-type]


def moments(step: int) -> Iterator[int]:
    """Every `step`th line, from one that is another in every run of a slow test."""
    line = 1 + (os.getpid() % step if SLOW > 1 else 0)
    while True:
        yield line
        line += step


@userns
def test_killed_between_any_two_lines_of_the_hosts_side_nothing_is_left(busybox_rootfs: Path, userns: str) -> None:
    made = container(busybox_rootfs, "line", userns)

    def life(line: int) -> None:
        die_at(line)
        with made.started(client.LocalKeeper()):
            pass

    def act() -> tuple[int, dict[int, object]]:
        before = left()
        for line in moments(20 // SLOW):
            if wait(forked(partial(life, line))) == 0:
                return line, {}
            journal.clean()
            if found := difference(before):
                return line, {line: found}
        raise AssertionError("it never ended")

    lines, wrong = on_a_machine_of_its_own(act)
    assert wrong == {}
    assert lines > 1000


# -- what the command does --------------------------------------------------------------------------------------------

DAEMON = "(setsid sh -c 'exec <&- >&- 2>&-; trap \"\" TERM HUP INT; sleep 1000 & wait') & sleep 0.2; exit 3"


@pytest.mark.parametrize("without", [(), ("unshare_pid", "proc")])
def test_a_daemon_of_the_command_ends_with_the_container(busybox_rootfs: Path, without: tuple[str, ...]) -> None:
    made = Container(str(busybox_rootfs), ("sh", "-c", DAEMON), name=f"{PREFIX}-daemon").without(*without)

    def act() -> tuple[int | None, object]:
        before = left()
        finished = made.run()
        client._hang_up()
        return finished.status, difference(before)

    assert on_a_machine_of_its_own(act) == (3, {})


EATERS = "for n in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of=/dev/null bs=16M count=3 2>&- & done; wait; echo survived"


def test_when_memory_runs_out_commands_are_killed_and_not_pid_1(busybox_rootfs: Path) -> None:
    def act() -> tuple[str, bool, object]:
        before = left()
        command = ("sh", "-c", EATERS)
        made = Container(str(busybox_rootfs), command, name=f"{PREFIX}-memory", memory="24M", cpus=None, network="none")
        with made.started() as box:
            said = box.run(*made.command).out
            killed = box.oom_kills() > 0
        client._hang_up()
        return said, killed, difference(before)

    assert on_a_machine_of_its_own(act) == ("survived", True, {})


def test_a_limit_that_kills_even_pid_1_is_told_as_what_it_is(busybox_rootfs: Path) -> None:
    def act() -> tuple[str | None, str, object]:
        before = left()
        made = Container(str(busybox_rootfs), ("tail", "/dev/zero"), name=f"{PREFIX}-memory", memory="6M", network="none")
        finished = made.run()
        client._hang_up()
        return finished.signal, finished.note, difference(before)

    assert on_a_machine_of_its_own(act) == ("SIGKILL", "killed: out of memory, limit 6 MB", {})


def test_sandboxes_that_a_program_forgets_are_closed_with_its_next_call_and_at_its_end() -> None:
    def program() -> None:
        forgotten = Sandbox(f"{PREFIX}-forgotten")
        pid = forgotten.pid
        del forgotten
        with Sandbox(f"{PREFIX}-next"):
            assert is_gone(pid)
            assert [found.name for found in journal.journals()] == [f"{PREFIX}-next"]
        Sandbox(f"{PREFIX}-left")
        client._hang_up()

    def act() -> tuple[int, object]:
        before = left()
        return wait(forked(program)), difference(before)

    assert on_a_machine_of_its_own(act) == (0, {})
