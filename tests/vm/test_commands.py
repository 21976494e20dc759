"""`scratchlab vm` as a user has it: machines with names, files, and messages that say what to do."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scratchlab.vm import Machine, registry
from tests.command_line import complains, running, said, scratchlab
from tests.conftest import eventually


@pytest.fixture
def web(built: None) -> Iterator[str]:
    """A machine that stays, by name."""
    name = f"web-{os.getpid()}"
    assert said("vm", "start", name) == f"{name}\n"
    yield name
    scratchlab("vm", "stop", name)


def listed() -> list[str]:
    return [line.split()[0] for line in said("vm", "list").splitlines()[1:]]


def test_a_machine_with_a_name_stays_and_is_the_same_each_time(web: str, tmp_path: Path) -> None:
    assert web in listed()
    said("vm", "run", "--name", web, "--", "touch", "/root/mark")
    assert said("vm", "run", "--name", web, "--", "ls", "/root") == "mark\n"

    (tmp_path / "data.txt").write_text("from the host")
    said("vm", "copy", tmp_path / "data.txt", f"{web}:/root")
    said("vm", "copy", f"{web}:/root/data.txt", tmp_path / "back")
    assert (tmp_path / "back/data.txt").read_text() == "from the host"

    said("vm", "reset", web)
    assert said("vm", "run", "--name", web, "--", "ls", "/root") == ""

    said("vm", "stop", web)
    assert web not in listed()
    complains(125, f"no machine '{web}' runs", "vm", "run", "--name", web, "--", "true")


def test_a_name_is_taken_once(web: str) -> None:
    complains(125, f"a machine called '{web}' runs already", "vm", "start", web)


def test_a_machine_that_is_just_starting_is_ended_too(built: None) -> None:
    name = f"early-{os.getpid()}"
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(scratchlab, "vm", "start", name)
        assert eventually(lambda: name in {entry.name for entry in registry.entries()}, True)
        registry.stop(next(entry for entry in registry.entries() if entry.name == name))

        assert started.result().returncode == 0
    assert name not in listed()


def test_a_machine_whose_owner_is_killed_ends_with_it(web: str) -> None:
    entry = registry.find(web)
    os.kill(entry.facts["owner"], signal.SIGKILL)

    assert eventually(lambda: web in listed(), False) is False
    assert eventually(lambda: Path(f"/proc/{entry.facts['qemu']}").exists(), False) is False


def test_run_has_our_files_and_the_commands_exit_status(built: None) -> None:
    done = scratchlab(
        "vm", "run", "-e", "COLOUR=red", "-w", "/etc", "--", "sh", "-c", "cat; echo $COLOUR; pwd; exit 3", input="in\n"
    )

    assert (done.stdout, done.stderr, done.returncode) == ("in\nred\n/etc\n", "", 3)
    complains(127, "execve.*nothere", "vm", "run", "--", "nothere")


def test_ctrl_c_reaches_the_command(built: None) -> None:
    words = ["vm", "run", "--", "sh", "-c", "trap 'echo caught; exit 4' INT; echo ready; while :; do sleep 0.1; done"]
    with running(*words, says="ready") as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout
        assert process.stdout.read() == "caught\n"
        assert process.wait(20) == 4


def test_a_notebooks_machine_is_found_by_a_part_of_its_name(built: None) -> None:
    with Machine.start(notebook="/home/me/07-network.ipynb") as machine:
        assert registry.of_notebook("07").name == machine.name
        complains(125, "needs a terminal", "vm", "shell", "--notebook", "07")


@pytest.mark.parametrize(
    "status, pattern, words",
    [
        (2, "invalid choice: 'nonsense'", ["nonsense"]),
        (2, "no command given", ["run"]),
        (2, "--memory 5: not a size", ["run", "--memory", "5", "--", "true"]),
        (2, "--memory lots: not a size", ["start", "--memory", "lots"]),
        (2, "cannot name a machine", ["start", "../x"]),
        (2, "--env X: no NAME=VALUE", ["run", "-e", "X", "--", "true"]),
        (2, "one of the two is in a machine", ["copy", "a", "b"]),
        (2, "there is no /nowhere", ["copy", "/nowhere", "web:/root"]),
        (125, "no machine 'nobody' runs", ["stop", "nobody"]),
        (2, "which machine is to end", ["stop"]),
        (125, "no machine 'nobody' runs", ["shell", "nobody"]),
        (125, "no machine 'nobody' runs", ["reset", "nobody"]),
        (2, "--guests 0: not a number of machines", ["test", "-n", "0"]),
        (2, "there is no file /nowhere", ["import", "/nowhere"]),
    ],
)
def test_bad_input_gets_a_message(status: int, pattern: str, words: list[str]) -> None:
    if words[0] == "shell":
        pattern = "needs a terminal"
    complains(status, pattern, "vm", *words)


def test_doctor_says_what_is_here(built: None) -> None:
    text = said("vm", "doctor")

    assert all(line.startswith("works") for line in text.splitlines()), text
    assert [line.split()[1] for line in text.splitlines()] == ["QEMU", "image", "processor", "snapshot", "disk"]
