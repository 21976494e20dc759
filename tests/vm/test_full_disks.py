"""A disk of this computer that is full, while a machine is built, started, or runs: said in words, and survived."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scratchlab.vm import cache
from tests.conftest import needs_root

ROOT = Path(__file__).resolve().parents[2]

# A program that runs with a small disk of its own at the directory that is its first argument.
_ON_A_SMALL_DISK = """
mount -t tmpfs -o size=30M tmpfs "$1" && shift && exec "$@"
"""


def on_a_small_disk(place: Path, program: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = ["unshare", "--mount", "sh", "-c", _ON_A_SMALL_DISK, "sh", str(place), sys.executable, "-c", program]
    settings = {"cwd": ROOT, "env": {**os.environ, **environment}, "capture_output": True, "text": True, "timeout": 120}
    return subprocess.run(command, check=False, **settings)  # type: ignore[call-overload, no-any-return]


@needs_root
def test_a_full_disk_here_is_an_error_of_the_disk_in_a_machine_that_runs(built: None, tmp_path: Path) -> None:
    program = """
from scratchlab.vm import Machine
with Machine.start() as machine:
    print(machine.run(["sh", "-c", "dd if=/dev/zero of=/big bs=1M count=100 conv=fsync 2>&1 | tail -4"], timeout=60))
    print(machine.run(["echo", "here"]))
"""
    done = on_a_small_disk(tmp_path, program, TMPDIR=str(tmp_path))

    assert "Input/output error" in done.stdout or "No space left" in done.stdout, (done.stdout, done.stderr)
    assert done.stdout.splitlines()[-1] == "here"


@needs_root
@pytest.mark.parametrize("what", ["building an image", "taking a snapshot"])
def test_a_disk_that_is_too_small_is_told_before_it_is_filled(built: None, tmp_path: Path, what: str) -> None:
    program = f"""
import os
from scratchlab.errors import HostError
from scratchlab.vm import Machine, cache
if {what!r} == "taking a snapshot":
    os.symlink({str(cache.cache() / "images")!r}, cache.cache() / "images")
said = []
try:
    with Machine.start(say=said.append) as machine:
        print(machine.run(["echo", "here"]))
except HostError as error:
    said.append(str(error))
print(*said)
"""
    done = on_a_small_disk(tmp_path, program, XDG_CACHE_HOME=str(tmp_path))

    assert f"{what} needs" in done.stdout and "are free" in done.stdout, (done.stdout, done.stderr)
    # Without a snapshot there is a machine all the same: it boots.
    assert ("here" in done.stdout.splitlines()) == (what == "taking a snapshot")
