"""The list of machines that run survives what others do to its files: each is swept, or named in a message."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scratchlab.owner import boot_id, start_time
from scratchlab.vm import registry
from tests.command_line import ENVIRONMENT, complains, said

HERE: dict[str, Any] = {"owner": os.getpid(), "started": start_time(os.getpid()), "boot": boot_id()}
DAMAGED = {
    "empty": b"",
    "cut short": b'{"owner": 1',
    "no text": b"\xff\xfe\x00",
    "a list": b"[]",
    "null": b"null",
    "nobody's": b"{}",
    "of another boot": json.dumps({**HERE, "boot": "another"}).encode(),
    "of a dead program": json.dumps({**HERE, "started": 1}).encode(),
    "an owner in words": json.dumps({**HERE, "owner": "me"}).encode(),
    "a port in words": json.dumps({**HERE, "port": "http"}).encode(),
    "a notebook that is a number": json.dumps({**HERE, "notebook": 7}).encode(),
    "about nothing": json.dumps({**HERE, "about": None}).encode(),
    "a QEMU of all processes": json.dumps({"boot": boot_id(), "qemu": -1, "qemu_started": 0}).encode(),
    "a QEMU that is process 1": json.dumps({"boot": boot_id(), "qemu": 1, "qemu_started": 1}).encode(),
}


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of entries, in a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return registry.directory()


def environment() -> dict[str, dict[str, str]]:
    return {"env": {**ENVIRONMENT, "XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]}}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_entry_is_swept_by_whoever_looks(running: Path, content: bytes) -> None:
    path = running / "odd.json"
    path.write_bytes(content)
    os.utime(path, (1, 1))

    assert said("vm", "list", **environment()) == "NAME  QEMU  OWNER  ABOUT\n"
    assert not path.exists()


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_entry_of_this_moment_is_no_machine_to_stop_or_enter(running: Path, content: bytes) -> None:
    (running / "odd.json").write_bytes(content)  # as if it were still being written

    complains(125, "no machine 'odd' runs", "vm", "stop", "odd", **environment())
    complains(125, "no machine 'odd' runs", "vm", "run", "--name", "odd", "--", "true", **environment())
    complains(125, "no machine 'odd' runs", "vm", "reset", "odd", **environment())


def test_what_is_no_file_is_left_alone(running: Path) -> None:
    (running / "directory.json").mkdir()
    (running / "dangling.json").symlink_to("nowhere")
    (running / "note.txt").write_text("somebody's")

    assert said("vm", "list", **environment()) == "NAME  QEMU  OWNER  ABOUT\n"
    assert said("vm", "stop", "--all", **environment()) == ""
    assert sorted(path.name for path in running.iterdir()) == ["dangling.json", "directory.json", "note.txt"]


def test_what_a_killed_program_was_about_to_write_is_swept(running: Path) -> None:
    (running / "gone.new").write_text("{")

    said("vm", "list", **environment())

    assert not (running / "gone.new").exists()


def test_an_entry_whose_program_was_killed_takes_its_qemu_along(running: Path) -> None:
    with subprocess.Popen(["sleep", "1000"]) as qemu:
        try:
            facts = {**HERE, "started": 1, "qemu": qemu.pid, "qemu_started": start_time(qemu.pid)}
            (running / "orphan.json").write_text(json.dumps(facts))
            said("vm", "list", **environment())

            assert qemu.wait(10) == -signal.SIGKILL
        finally:
            qemu.kill()
    assert not list(running.iterdir())


def test_a_registration_ends_once_and_never_another_ones(running: Path) -> None:
    first = registry.register("web")
    first.end()
    second = registry.register("web")
    first.end()
    del first

    assert [entry.name for entry in registry.entries()] == ["web"]
    del second
    assert not list(running.iterdir())
