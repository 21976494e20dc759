"""At random moments, and in a crowd: killed, interrupted, and a hundred at once."""

import os
import random
import select
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from scratchlab import Sandbox, journal, stages
from scratchlab.sandbox import client
from tests.conftest import eventually, needs_root
from tests.survival import CLI, PREFIX, SLOW, command_line, difference, forked, left, on_a_machine_of_its_own, wait

pytestmark = needs_root

TRIES = 40 * SLOW
CROWD = 100
FIRST, LONGEST = 0.05, 0.3  # seconds: Python itself is up after the first, a container before the last


def run(rootfs: Path, name: str, port: int, *command: str) -> list[str]:
    """The words of the real command line."""
    return [*CLI, "run", "--name", f"{PREFIX}-{name}", "-p", f"{port}:80", str(rootfs), *command]


def dice() -> random.Random:
    """The same moments in every run, but for a slow test, which has the time to look for others."""
    seed = os.getpid() if SLOW > 1 else 4
    return random.Random(seed)


# -- at random moments ------------------------------------------------------------------------------------------------


def test_the_command_line_killed_at_any_moment_leaves_nothing_after_clean(busybox_rootfs: Path) -> None:
    moments = dice()

    def act() -> dict[float, object]:
        wrong: dict[float, object] = {}
        before = left()
        for _ in range(TRIES):
            moment = moments.uniform(0, LONGEST)
            program = subprocess.Popen(run(busybox_rootfs, "killed", 18080, "sleep", "1000"))
            time.sleep(moment)  # a random moment is what is tested
            program.kill()
            program.wait()
            cleaned = subprocess.run([*CLI, "clean"], capture_output=True, check=False)
            if cleaned.returncode or (found := difference(before)):
                wrong[moment] = cleaned.stderr or found
        return wrong

    assert on_a_machine_of_its_own(act) == {}


def test_ctrl_c_at_any_moment_ends_with_130_and_leaves_nothing(busybox_rootfs: Path) -> None:
    moments = dice()

    def act() -> dict[float, object]:
        wrong: dict[float, object] = {}
        before = left()
        for _ in range(TRIES):
            moment = moments.uniform(FIRST, LONGEST)
            status, said = interrupted(run(busybox_rootfs, "stopped", 18080, "sleep", "1000"), moment)
            # -2: of the signal itself, before our first line ran. To a shell that is 130, too.
            if status not in (130, -signal.SIGINT) or (found := difference(before)):
                wrong[moment] = (status, said, found if status == 130 else None)
        return wrong

    assert on_a_machine_of_its_own(act) == {}


def interrupted(words: list[str], moment: float) -> tuple[int, str]:
    """Run it on a terminal, press Ctrl-C at that moment. Gives its end, and what it said."""
    pid, terminal = os.forkpty()
    if pid == 0:
        os.execv(words[0], words)
    time.sleep(moment)  # a random moment is what is tested
    os.write(terminal, b"\x03")
    said = b""
    with suppress(OSError):  # EIO: nobody has the other side open any more
        while select.select([terminal], [], [], 30)[0]:
            said += os.read(terminal, 4096)
        said += b" and did not end"
        os.kill(pid, signal.SIGKILL)
    os.close(terminal)
    return wait(pid), said.decode()


# -- in a crowd -------------------------------------------------------------------------------------------------------


def test_a_hundred_containers_started_at_once_all_run_each_in_a_subnet_of_its_own(busybox_rootfs: Path) -> None:
    def act() -> tuple[list[int], int, str, object]:
        before = left()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # Each says its address, and waits until all have said theirs.
        command = ("sh", "-c", "ip -4 addr show eth0 | grep -o 'inet [0-9./]*'; cat")
        crowd = [subprocess.Popen(run(busybox_rootfs, f"crowd-{n}", 20_000 + n, *command), **pipes) for n in range(CROWD)]  # type: ignore[call-overload]
        subnets = {program.stdout.readline() for program in crowd} - {""}
        said = "".join(program.communicate()[1] for program in crowd)
        return [program.returncode for program in crowd], len(subnets), said, difference(before)

    statuses, subnets, said, found = on_a_machine_of_its_own(act)
    assert said == ""
    assert statuses == [0] * CROWD
    assert subnets == CROWD
    assert found == {}


def test_a_hundred_sandboxes_of_one_program_leave_no_file_open_and_no_zombie() -> None:
    def program() -> None:
        keeper = client.keeper().process.pid
        with Sandbox(f"{PREFIX}-first") as box:  # whatever is opened only once
            box.run("true")
        before = [open_files(os.getpid()), open_files(keeper), children(keeper)]
        boxes = [Sandbox(f"{PREFIX}-{number}") for number in range(CROWD)]
        for box in boxes:
            box.play([stages.step(stages.unshare_net), stages.step(stages.veth), stages.step(stages.memory, "64M")])
            assert box.run("echo", box.name).out == box.name
        assert len({Path(claim).name for claim in Path("/run/scratchlab/claims").iterdir()}) == CROWD
        for box in boxes:
            box.close()
        assert [open_files(os.getpid()), open_files(keeper), children(keeper)] == before
        client._hang_up()

    def act() -> tuple[int, object]:
        before = left()
        return wait(forked(program)), difference(before)

    assert on_a_machine_of_its_own(act) == (0, {})


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_many_cleaners_at_once_take_everything_back_and_leave_the_living_alone(busybox_rootfs: Path) -> None:
    def act() -> tuple[list[int], str, bool, object]:
        before = left()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = ("sh", "-c", "echo up; cat")
        words = [run(busybox_rootfs, f"clean-{n}", 21_000 + n, *command) for n in range(6)]
        *dead, alive = [subprocess.Popen(each, **pipes) for each in words]  # type: ignore[call-overload]
        for program in [*dead, alive]:
            assert program.stdout.readline() == "up\n"
        for program in dead:
            program.kill()
            program.wait()
        cleaners = [subprocess.Popen([*CLI, "clean"], stdout=subprocess.PIPE, text=True) for _ in range(6)]
        said = "".join(cleaner.communicate()[0] for cleaner in cleaners)
        names = sorted(line.removeprefix(f"cleaned {PREFIX}-clean-") for line in said.splitlines() if "cleaned" in line)
        lives = [found.name for found in journal.journals()] == [f"{PREFIX}-clean-5"]
        alive.communicate("")
        return [cleaner.returncode for cleaner in [*cleaners, alive]], "".join(names), lives, difference(before)

    assert on_a_machine_of_its_own(act) == ([0] * 7, "01234", True, {})


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_asks_to_end_is_handed_on_and_nothing_is_left(busybox_rootfs: Path, end: signal.Signals) -> None:
    def act() -> tuple[int, object]:
        before = left()
        program = subprocess.Popen(run(busybox_rootfs, "signal", 18080, "sleep", "1000"), stdin=subprocess.DEVNULL)
        assert eventually(lambda: any(command_line(int(pid)) == "sleep 1000" for pid in os.listdir("/proc") if pid.isdigit()))
        program.send_signal(end)
        return program.wait(30), difference(before)

    assert on_a_machine_of_its_own(act) == (128 + end, {})
