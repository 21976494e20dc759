"""A machine: commands run in it as on any other, it is ours alone, and no other one is like it."""

import json
import platform
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from scratchlab.errors import GoneError, HostError, InputError, KernelError
from scratchlab.vm import Machine, hardware, image, library, qemu, registry, snapshot
from scratchlab.vm.guest import frames
from scratchlab.vm.link import Guest
from tests.conftest import eventually, only_where

ROOT = Path(__file__).resolve().parents[2]


# -- commands ---------------------------------------------------------------------------------------------------------


def test_a_command_says_what_it_says_and_how_it_ended(shared: Machine) -> None:
    done = shared.run(["sh", "-c", "echo out; echo err >&2; exit 3"])

    assert (done.out, done.err, done.status, done.signal) == ("out", "err", 3, None)


def test_a_command_reads_its_input_to_the_end(shared: Machine) -> None:
    long = "0123456789abcdef\n" * 200_000

    assert shared.run(["wc", "-c"], input=long).out == str(len(long))
    assert shared.run(["cat"], input=long).out == long.removesuffix("\n")


def test_a_command_that_does_not_read_its_input_ends_all_the_same(shared: Machine) -> None:
    assert shared.run(["echo", "done"], input="x" * 3_000_000).out == "done"


def test_a_command_that_talks_before_it_listens_hangs_nobody(shared: Machine) -> None:
    done = shared.run(["sh", "-c", "head -c 5000000 /dev/zero; cat >/dev/null"], input="x" * 5_000_000, timeout=60)

    assert (done.status, len(done.out)) == (0, 5_000_000)


def test_a_command_has_its_own_environment_and_directory(shared: Machine) -> None:
    done = shared.run(["sh", "-c", "echo $COLOUR; pwd; echo $HOME"], env={"COLOUR": "grün"}, cwd="/etc")

    assert done.lines == ["grün", "/etc", "/root"]


def test_what_is_no_program_is_told_as_such(shared: Machine) -> None:
    with pytest.raises(KernelError, match=r"execve.*nothere.*ENOENT") as raised:
        shared.run(["nothere"])
    assert "in the machine" in raised.value.hint

    with pytest.raises(KernelError, match=r"chdir.*/nowhere"):
        shared.run(["true"], cwd="/nowhere")


@pytest.mark.parametrize("words", [[], "uname -a", ["a\0b"], [1]])
def test_what_is_no_command_is_refused_before_anything_is_sent(shared: Machine, words: list[str]) -> None:
    with pytest.raises(InputError):
        shared.run(words)


def test_a_command_that_takes_too_long_is_ended(shared: Machine) -> None:
    done = shared.run(["sh", "-c", "echo early; exec sleep 1000"], timeout=0.5)
    assert (done.timed_out, done.signal, done.out) == (True, "SIGTERM", "early")

    stubborn = shared.run(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"], timeout=0.2)
    assert (stubborn.timed_out, stubborn.signal) == (True, "SIGKILL")


def test_output_can_be_had_while_the_command_runs(shared: Machine) -> None:
    with shared.open(["sh", "-c", "echo one; read line; echo $line"]) as session:
        assert session.receive() == [(frames.OUTPUT, b"one\n")]
        session.feed(b"two\n")
        assert (frames.OUTPUT, b"two\n") in session.receive()


def test_a_signal_reaches_the_command_and_its_children(shared: Machine) -> None:
    with shared.open(["sh", "-c", "sleep 1000 & wait"]) as session:
        session.kill(signal.SIGINT)
        session.kill(signal.SIGTERM)
        ends = [kind for kind, _ in session.receive()]

    assert ends[-1:] == [frames.END]
    assert eventually(lambda: shared.run(["pgrep", "-x", "sleep"]).out, "") == ""


def test_a_command_ends_with_the_connection_that_asked_for_it(shared: Machine) -> None:
    with shared.open(["sleep", "1001"]):
        assert shared.run(["pgrep", "-fx", "sleep 1001"]).ok

    assert not eventually(lambda: shared.run(["pgrep", "-fx", "sleep 1001"]).ok, False)


def test_a_daemon_that_a_command_leaves_behind_does_not_hold_it_up(shared: Machine) -> None:
    assert shared.run(["sh", "-c", "setsid sleep 30 & echo started"], timeout=20).out == "started"


# -- the machine ------------------------------------------------------------------------------------------------------


def test_one_is_root_in_it_and_it_says_that_it_can_be_thrown_away(shared: Machine) -> None:
    assert shared.run(["id", "-u"]).out == "0"
    assert "scratchlab.disposable=1" in shared.run(["cat", "/proc/cmdline"]).out.split()
    assert "scratchlab.disposable=1" not in Path("/proc/cmdline").read_text()


def test_control_groups_are_of_version_2_and_an_empty_tree_of_version_1_can_be_mounted(machine: Machine) -> None:
    controllers = machine.run(["cat", "/sys/fs/cgroup/cgroup.subtree_control"]).out.split()
    assert {"cpu", "memory", "pids", "io", "cpuset"} <= set(controllers)

    mounted = machine.run(["sh", "-c", "mkdir /tmp/v1 && mount -t cgroup -o none,name=x x /tmp/v1 && ls /tmp/v1"])
    assert mounted.ok and "release_agent" in mounted.out


def test_the_library_in_it_is_the_one_that_is_installed_here(shared: Machine) -> None:
    program = "import scratchlab.vm.library as library; print(library.library_hash(), library.files()[0])"

    assert shared.run(["python3", "-c", program]).out.split()[0] == library.library_hash()


def test_a_changed_library_is_in_the_next_machine_without_a_new_snapshot(built: None, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", str(ROOT / "scratchlab"), str(tmp_path)], check=True)
    with (tmp_path / "scratchlab/owner.py").open("a") as file:
        file.write('\nADDED = "by a learner"\n')
    program = """
from scratchlab.vm import Machine
with Machine.start() as machine:
    print(machine.run(["python3", "-c", "from scratchlab import owner; print(owner.ADDED)"]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("by a learner\n", "")


def test_no_machine_repeats_the_random_numbers_of_another(built: None) -> None:
    program = "import uuid, random, os; print(uuid.uuid4(), random.random(), os.urandom(8).hex())"
    with Machine.start() as one, Machine.start() as other:
        drawn = [machine.run(["python3", "-c", program]).out.split() for machine in (one, other)]

    assert uuid.UUID(drawn[0][0])
    assert not set(drawn[0]) & set(drawn[1])


def test_where_qemu_maps_no_file_the_memory_is_in_the_state(built: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_MAPS_FILES", False)  # as on Windows
    found = image.have()
    program, parts = qemu.have(found.machine), hardware.Hardware(found.machine)
    snapshot._fill(tmp_path, program, parts, found, lambda *_: None)
    facts = json.loads((tmp_path / "snapshot.json").read_text())
    registration = registry.register()
    process = snapshot.restore(program, parts, snapshot.Snapshot(tmp_path, facts), False, registration)
    try:
        process.say(do="clock")
        assert process.expect("clock", 30)["seconds"] > 0
    finally:
        process.stop()
        registration.end()
    assert not facts["shares_memory"] and sorted(facts["sizes"]) == ["disk", "state"]


def test_the_clock_of_a_machine_is_ours(machine: Machine) -> None:
    # One second of latitude for a busy computer; a clock that had stopped with the snapshot would be minutes behind.
    assert abs(float(machine.run(["date", "+%s.%N"]).out) - time.time()) < 1


@only_where(platform.machine() == "x86_64", "other processors say how fast they count")
def test_one_that_boots_without_a_snapshot_has_its_clock_looked_at_too(built: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_APPEND", f"{hardware._APPEND} tsc_early_khz=500000")

    with Machine.start(cold=True) as machine:
        words = machine.run(["cat", "/proc/cmdline"]).out.split()
        begin, theirs = time.monotonic(), float(machine.run(["cut", "-d", " ", "-f", "1", "/proc/uptime"]).out)
        machine.run(["sleep", "2"])
        passed = float(machine.run(["cut", "-d", " ", "-f", "1", "/proc/uptime"]).out) - theirs
        assert 0.8 < passed / (time.monotonic() - begin) < 1.2
    assert len([word for word in words if word.startswith("tsc_early_khz=")]) == 2  # the last one counts


@only_where(platform.machine() == "x86_64", "other processors say how fast they count")
def test_a_machine_that_measured_its_clock_wrong_boots_again(
    built: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_APPEND", f"{hardware._APPEND} tsc_early_khz=500000")
    found, steps = image.have(), []
    snapshot._fill(tmp_path, qemu.have(found.machine), hardware.Hardware(), found, lambda step, *_: steps.append(step))

    assert steps == ["first boot", "warming up", "first boot", "warming up", "saving"]


def test_there_is_no_way_out_unless_one_is_opened(built: None, shared: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        program = f"import socket; socket.create_connection(('10.0.2.2', {server.getsockname()[1]}), 5)"
        assert not shared.run(["python3", "-c", program]).ok

        with Machine.start(network=True) as open_:
            assert open_.run(["python3", "-c", program]).ok


def test_nobody_enters_without_the_key(shared: Machine) -> None:
    with pytest.raises(GoneError):
        Guest(shared.port, "0" * 32).run(["true"])
    with pytest.raises(GoneError):
        Guest(shared.port, "").run(["true"])

    assert shared.run(["true"]).ok


def test_what_a_learner_does_to_the_network_does_not_cut_our_line(machine: Machine) -> None:
    cut = "ip link set eth0 down; ip link set lo down; nft add table inet x; nft 'add chain inet x in { type filter hook input \
priority 0; policy drop; }'; ip route flush table all"
    machine.run(["sh", "-c", cut])

    assert machine.run(["echo", "still here"]).out == "still here"
    assert [link.split()[0] for link in machine.run(["ip", "-br", "link"]).lines] == ["lo", "eth0"]


def test_a_port_that_is_taken_is_told_and_a_free_one_is_found(machine: Machine) -> None:
    machine.run(["sh", "-c", "echo hello >/tmp/page"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with pytest.raises(HostError, match=f"port {taken} of this computer is taken"):
            machine.forward(5001, taken)

    assert machine.forward(5001) != taken


def test_a_signal_without_a_name_of_its_own_ends_a_command_as_any_other(shared: Machine) -> None:
    assert shared.run(["sh", "-c", "kill -37 $$"]).signal == "SIGRTMIN+3"
    assert shared.run(["true"]).ok


def test_a_machine_without_proc_goes_on(machine: Machine) -> None:
    machine.run(["umount", "-l", "/proc"])

    assert machine.run(["echo", "here"]).out == "here"


def test_a_machine_that_hangs_up_and_runs_on_is_not_said_to_have_ended(machine: Machine) -> None:
    with pytest.raises(GoneError, match="the machine runs, but it hung up"):
        machine.run(["sh", "-c", "kill -9 -1"])

    assert machine.run(["echo", "here"]).out == "here"


def test_a_machine_that_ended_says_why(machine: Machine) -> None:
    machine.close()

    assert not machine.alive
    with pytest.raises(GoneError, match="SIGKILL"):
        machine.run(["true"])
