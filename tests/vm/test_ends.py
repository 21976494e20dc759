"""However a machine ends, or its program does, or what it starts from: a clear message, and nothing left."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from scratchlab.errors import GoneError
from scratchlab.vm import Machine, cache, image, library, qemu, registry, snapshot
from scratchlab.vm.hardware import Hardware
from tests.command_line import ENVIRONMENT, said
from tests.conftest import eventually
from tests.vm.machines import qemus

ROOT = Path(__file__).resolve().parents[2]

# -- the guest ends ---------------------------------------------------------------------------------------------------

ENDS = {
    "panic": ("echo c >/proc/sysrq-trigger", "its kernel panicked: sysrq triggered crash"),
    "reboot": ("busybox reboot -f", "it powered off or rebooted"),
    "power off": ("busybox poweroff -f; sleep 1; echo o >/proc/sysrq-trigger", "it powered off or rebooted"),
}


@pytest.mark.parametrize("command, cause", ENDS.values(), ids=ENDS)
def test_a_machine_that_ends_says_how(machine: Machine, command: str, cause: str) -> None:
    with pytest.raises(GoneError, match=f"the machine has ended: {cause}"):
        machine.run(["sh", "-c", f"{command}; sleep 60"])

    assert not machine.alive


def test_a_command_that_eats_all_memory_is_told_and_the_machine_goes_on(machine: Machine) -> None:
    done = machine.run(["python3", "-c", "b = [bytearray(b'x' * (1 << 20)) for _ in range(2000)]"])

    assert done.signal == "SIGKILL"
    assert done.note == "killed because the machine ran out of memory"
    assert machine.run(["echo", "here"]).out == "here"


def test_killing_process_1_of_a_machine_does_nothing(machine: Machine) -> None:
    machine.run(["sh", "-c", "kill -9 1"])

    assert machine.run(["echo", "here"]).out == "here"


def test_a_qemu_that_is_killed_is_told(machine: Machine) -> None:
    os.kill(machine.pid, signal.SIGKILL)

    with pytest.raises(GoneError, match="QEMU was killed by SIGKILL"):
        machine.run(["true"])


def test_a_machine_that_is_stopped_from_elsewhere_says_so(machine: Machine) -> None:
    os.kill(machine.pid, signal.SIGTERM)

    with pytest.raises(GoneError, match="the machine has ended: somebody stopped it"):
        machine.run(["true"])


def test_a_qemu_that_stands_still_for_a_while_carries_on(machine: Machine) -> None:
    os.kill(machine.pid, signal.SIGSTOP)
    time.sleep(0.5)  # that while
    os.kill(machine.pid, signal.SIGCONT)

    assert machine.run(["echo", "here"]).out == "here"


# -- our program ends -------------------------------------------------------------------------------------------------

# A program that says how far it has come, to be killed there.
_PROGRAM = """
from scratchlab.vm import Machine
print("begin", flush=True)
with Machine.start(cold={cold}) as machine:
    print("started", flush=True)
    machine.run(["sh", "-c", "echo running; sleep 1000"], stream=lambda text: print(text, end="", flush=True))
"""


@contextmanager
def program(says: str, cold: bool = False) -> Iterator["subprocess.Popen[str]"]:
    """A program with a machine, when it has said this."""
    command = [sys.executable, "-c", _PROGRAM.format(cold=cold)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        while (line := process.stdout.readline().strip()) != says:
            assert line, process.communicate()
        yield process
    finally:
        process.kill()
        process.communicate()


def machines_of(pid: int) -> set[str]:
    return {entry.name for entry in registry._read_all() if entry.facts.get("owner") == pid}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("says", ["begin", "started", "running"])
def test_a_program_that_is_killed_takes_its_machine_with_it(built: None, says: str, number: int) -> None:
    with program(says) as process:
        process.send_signal(number)
        process.wait(20)
        mine = qemus(process.pid)

        # A look at the list ends what a killed program left in the middle of a start; the rest ends by itself.
        assert not eventually(lambda: (registry.clean() and None) or machines_of(process.pid), set())
        assert eventually(lambda: [pid for pid in mine if Path(f"/proc/{pid}").exists()], []) == []


def test_a_program_that_is_killed_while_its_machine_boots_takes_it_along(built: None) -> None:
    with program("begin", cold=True) as process:
        found = eventually(lambda: bool(qemus(process.pid)), True)
        mine = qemus(process.pid)
        process.kill()
        process.wait(20)

        assert found and mine
        registry.clean()
        assert eventually(lambda: [pid for pid in mine if Path(f"/proc/{pid}").exists()], []) == []


def test_ctrl_c_ends_a_command_and_leaves_the_machine_alone(machine: Machine) -> None:
    # As in a notebook: the signal comes while we wait for the command.
    def interrupt(text: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        machine.run(["sh", "-c", "echo running; sleep 1000"], stream=interrupt)

    assert not eventually(lambda: machine.run(["pgrep", "-fx", "sleep 1000"]).ok, False)


# -- what it starts from is damaged -----------------------------------------------------------------------------------


@pytest.fixture
def own_cache(built: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, with the same image, and a copy of the snapshots: to be damaged."""
    ours = cache.cache()
    taken = _snapshot()
    assert taken
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    mine = cache.cache()
    (mine / "images").symlink_to(ours / "images")
    shutil.copy(ours / "accelerator.json", mine)
    (mine / "snapshots").mkdir()
    subprocess.run(["cp", "-r", "--sparse=always", str(taken.directory), str(mine / "snapshots")], check=True)
    return mine


def _snapshot() -> snapshot.Snapshot | None:
    found, program = image.find(), qemu.find("x86_64")
    assert found and program
    return snapshot.find(program, Hardware(), found)


def test_a_damaged_snapshot_is_told_and_taken_again(own_cache: Path) -> None:
    for state in own_cache.glob("snapshots/*/state"):
        with state.open("r+b") as file:
            file.write(b"damage" * 100)
    said: list[str] = []
    with Machine.start(say=said.append) as machine:
        assert machine.run(["echo", "here"]).out == "here"

    assert [line.startswith("no machine from a snapshot: ") for line in said] == [True]
    with Machine.start(say=said.append) as machine:
        assert machine.run(["echo", "here"]).out == "here"
    assert len(said) == 1


def test_a_build_takes_the_snapshot_again_when_the_library_is_another_one(own_cache: Path) -> None:
    [path] = own_cache.glob("snapshots/*/snapshot.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "library": "of last year"}))
    said("vm", "build", env={**ENVIRONMENT, "XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]})

    [path] = own_cache.glob("snapshots/*/snapshot.json")
    assert json.loads(path.read_text())["library"] == library.library_hash()


def test_an_image_that_was_built_again_is_not_started_from_the_snapshot_of_before(built: None) -> None:
    found, program = image.find(), qemu.find("x86_64")
    assert found and program

    again = image.Image(found.directory, {**found.facts, "built": "tomorrow"})
    assert snapshot.find(program, Hardware(), found) and not snapshot.find(program, Hardware(), again)


def test_a_snapshot_that_somebody_has_taken_anew_is_not_forgotten_for_the_one_before(own_cache: Path) -> None:
    found = _snapshot()
    assert found

    snapshot.forget(snapshot.Snapshot(found.directory, {**found.facts, "taken": 1}))
    assert _snapshot()
    snapshot.forget(found)
    assert not _snapshot()
    assert list((own_cache / "snapshots").iterdir()) == []


@pytest.mark.parametrize("name", ["ram", "state", "disk", "snapshot.json"])
def test_a_snapshot_that_was_cut_short_is_not_even_tried(own_cache: Path, name: str) -> None:
    assert _snapshot()

    for path in own_cache.glob(f"snapshots/*/{name}"):
        os.truncate(path, 100)

    assert not _snapshot()


def test_where_no_snapshot_can_be_taken_a_machine_boots(own_cache: Path) -> None:
    shutil.rmtree(own_cache / "snapshots")
    (own_cache / "snapshots").write_text("not a directory")
    said: list[str] = []
    with Machine.start(say=said.append) as machine:
        assert machine.run(["echo", "here"]).out == "here"

    assert [line.startswith("no machine from a snapshot: cannot write") for line in said] == [True, False]
    assert said[-1] == "the machine boots, which takes some seconds"


def test_a_snapshot_of_another_qemu_machine_or_computer_is_not_even_tried(built: None, monkeypatch: pytest.MonkeyPatch) -> None:
    found, program = image.find(), qemu.find("x86_64")
    assert found and program

    assert snapshot.find(program, Hardware(), found)
    assert not snapshot.find(qemu.Qemu(program.command, "99.0"), Hardware(), found)
    assert not snapshot.find(program, Hardware(memory=300), found)
    monkeypatch.setattr(snapshot, "this_computer", lambda: "with another processor")
    assert not snapshot.find(program, Hardware(), found)


# -- many -------------------------------------------------------------------------------------------------------------


def test_twenty_machines_start_at_once_and_no_two_are_alike(built: None) -> None:
    with ThreadPoolExecutor(20) as pool:
        machines = list(pool.map(lambda _: Machine.start(), range(20)))
        try:
            said = list(pool.map(lambda machine: machine.run(["cat", "/proc/sys/kernel/random/uuid"]).out, machines))
            listed = {entry.name for entry in registry.entries()}
        finally:
            for machine in machines:
                machine.close()

    assert len(set(said)) == 20
    assert {machine.name for machine in machines} <= listed
