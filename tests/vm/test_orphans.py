"""No QEMU outlives its program, whatever is done to that program, and at whatever instant."""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scratchlab.vm import registry
from tests.command_line import ENVIRONMENT, ROOT
from tests.conftest import eventually
from tests.vm.machines import temporary_files

TIMES = int(os.environ.get("SCRATCHLAB_FUZZ", "1"))  # ten times as often, at other instants

# What a QEMU is started for, and how long that takes on a quiet computer. All four are done again and again.
BEGIN = """
import itertools, pathlib, sys, tempfile
from scratchlab.vm import Machine, accelerator, image, qemu, snapshot
from scratchlab.vm.hardware import Hardware
found = image.have()
program = qemu.have(found.machine)
print("begin", flush=True)
for number in itertools.count():
"""
ACTS = {
    "restores": ("    Machine.start().close()", 0.6),
    "boots": ("    Machine.start(cold=True).close()", 6.0),
    "tries an accelerator": ("    accelerator.boots(program, found, 'tcg')", 0.4),
    "takes a snapshot": (
        "    place = pathlib.Path(sys.argv[1], str(number))\n    place.mkdir()\n"
        "    snapshot._fill(place, program, Hardware(), found, lambda *_: None)",
        10.0,
    ),
}
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]


@contextmanager
def marked(code: str, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A program that has said its first word, and the mark by which it and all that it started are known."""
    mark = f"SCRATCHLAB_TEST_MARK={uuid.uuid4().hex}"
    environment = {**ENVIRONMENT, **dict([mark.split("=")])}
    command = [sys.executable, "-c", code, *words]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **options) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == "begin\n", process.communicate()
            yield process, mark
        finally:
            process.kill()
            process.communicate()


def bearing(mark: str) -> set[int]:
    """The processes that have this in their environment, and run."""
    return {int(path.name) for path in Path("/proc").glob("[0-9]*") if mark.encode() in _environment(path)}


def _environment(path: Path) -> list[bytes]:
    try:
        return (path / "environ").read_bytes().split(b"\0")  # a zombie's is empty
    except OSError:
        return []


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("act, seconds", ACTS.values(), ids=ACTS)
def test_no_qemu_outlives_a_program_that_is_ended_while_it(
    built: None, tmp_path: Path, act: str, seconds: float, number: int
) -> None:
    before = temporary_files()
    for round_ in range(TIMES):
        (tmp_path / str(round_)).mkdir()
        with marked(BEGIN + act, str(tmp_path / str(round_))) as (process, mark):
            time.sleep(random.uniform(0, seconds))  # any instant will do
            process.send_signal(number)
            process.wait(30)

            assert eventually(lambda mark=mark: bearing(mark), set()) == set()  # type: ignore[misc]
            registry.clean()
            assert process.pid not in {entry.facts.get("owner") for entry in registry._read_all()}
            assert not temporary_files() - before


# Ctrl-C in a notebook or a REPL does not end the program. The alarm is as sudden, and comes more often than one can type.
GOES_ON = """
import os, random, signal, sys, time
from pathlib import Path
from scratchlab.owner import start_time
from scratchlab.vm import Machine, registry

def interrupt(*_):
    raise KeyboardInterrupt

def left():
    children = " ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children"))  # proc_tid_children(5)
    running = [pid for pid in children.split() if start_time(int(pid))]  # and is no zombie
    return running, [entry for entry in registry._read_all() if entry.facts["owner"] == os.getpid()]

def nothing_is_left():
    deadline = time.monotonic() + 10  # a program that is asked for its version ends by itself
    while left() != ([], []) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left() == ([], [])

signal.signal(signal.SIGALRM, interrupt)
Machine.start().close()
print("begin", flush=True)
files = len(os.listdir("/proc/self/fd"))
for _ in range(int(sys.argv[1])):
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.001, 0.5))
        with Machine.start() as machine:
            machine.run(["sleep", "1"])
    except KeyboardInterrupt:
        pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert nothing_is_left(), left()
    assert len(os.listdir("/proc/self/fd")) <= files, os.listdir("/proc/self/fd")
print("good", flush=True)
"""


def test_a_program_that_goes_on_after_ctrl_c_has_no_machine_any_more(built: None) -> None:
    with marked(GOES_ON, str(20 * TIMES)) as (process, _):
        out, err = process.communicate()

    assert out == "good\n", err
