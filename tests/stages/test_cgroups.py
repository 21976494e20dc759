"""The limits of stages/cgroups.py on the real kernel: the kernel's files on the host, and what happens inside."""

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scratchlab.errors import InputError, StageError
from scratchlab.journal import Journal, read
from scratchlab.linux import cgroupfs, recording
from scratchlab.linux.cgroup_fork import fork_into
from scratchlab.stages import cgroups
from scratchlab.stages.sizes import machine_memory, parse_size, readable
from scratchlab.stages.stage import Target
from tests.conftest import needs_root
from tests.linux.groups import until
from tests.stages.boxed import LIMITS, boxed, disk, group, used

pytestmark = needs_root


MIB = 1 << 20


# -- cpu --------------------------------------------------------------------------------------------------------------


def spin(seconds: float) -> float:
    start = time.monotonic()
    while time.monotonic() < start + seconds:
        pass
    return time.monotonic() - start


def test_a_busy_loop_is_held_to_its_share_by_the_groups_own_accounting() -> None:
    with boxed(lambda: spin(5)) as box:
        cgroups.cpu(box.target, 0.2)
        before = used(box)

        seconds = box.go()

        assert cgroupfs.show(group(box, "cpu"), "cpu.max") == "20000 100000"
        assert 0.17 <= (used(box) - before) / 1e6 / seconds <= 0.23
        assert cgroupfs.counters(group(box, "cpu"), "cpu.stat")["nr_throttled"] > 10


def test_a_limit_holds_for_what_was_started_before_it_and_after_it() -> None:
    def children() -> list[str]:
        return [Path(f"/proc/{pid}/cgroup").read_text() for pid in (os.getpid(), sleeper())]

    def sleeper() -> int:
        pid = os.fork()
        if pid == 0:
            signal.pause()
        return pid

    with boxed(children) as box:
        early = fork_into(group(box))
        if early == 0:
            signal.pause()
        cgroups.cpu(box.target, 0.5)

        assert all(f"/scratchlab/{box.target.name}\n" in text for text in box.go())
        assert {early, box.target.pid} < set(cgroupfs.procs(group(box, "cpu")))
        assert len(cgroupfs.procs(group(box, "cpu"))) == 3
        cgroupfs.kill(group(box))
        os.waitpid(early, 0)


# -- memory -----------------------------------------------------------------------------------------------------------


def test_a_process_that_needs_more_memory_than_it_may_have_is_killed_and_counted() -> None:
    with boxed(lambda: len(bytearray(256 * MIB))) as box:
        cgroups.memory(box.target, "128M")

        assert box.go() == signal.SIGKILL
        assert cgroups.oom_kills(box.target) == 1
        assert cgroups.memory_limit(box.target) == 128 * MIB
        assert cgroupfs.show(group(box, "memory"), "memory.max") == str(128 * MIB)


def test_a_process_within_its_memory_limit_lives() -> None:
    with boxed(lambda: len(bytearray(64 * MIB))) as box:
        cgroups.memory(box.target, 128 * MIB)

        assert box.go() == 64 * MIB
        assert cgroups.oom_kills(box.target) == 0


def test_without_a_memory_limit_there_are_no_kills_and_no_limit() -> None:
    with boxed() as box:
        assert (cgroups.oom_kills(box.target), cgroups.memory_limit(box.target)) == (0, 0)


# -- pids -------------------------------------------------------------------------------------------------------------


def fork_until_refused() -> tuple[int, int]:
    for count in range(1, 200):
        try:
            if os.fork() == 0:
                signal.pause()
        except OSError as error:
            return count, error.errno or 0
    return 200, 0


def test_one_fork_too_many_fails() -> None:
    with boxed(fork_until_refused) as box:
        cgroups.pids(box.target, 10)

        assert box.go() == (10, errno.EAGAIN)
        assert cgroupfs.show(group(box, "pids"), "pids.max") == "10"
        assert cgroupfs.counters(group(box, "pids"), "pids.events") == {"max": 1}


# -- io ---------------------------------------------------------------------------------------------------------------


def test_a_disk_limit_is_in_the_kernels_file_and_counts_what_is_written() -> None:
    with boxed() as box:
        cgroups.io(box.target, disk(), write_bps="4M", read_iops=100)

        assert cgroupfs.show(group(box, "io"), "io.max") == f"{disk()} rbps=max wbps=4194304 riops=100 wiops=max"


# -- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LIMITS)
def test_applying_a_stage_twice_changes_the_limit_of_the_same_group(name: str) -> None:
    twice: dict[str, Any] = {"cpu": ((0.5,), (0.1,)), "memory": (("256M",), ("64M",)), "pids": ((9,), (90,))}
    knob = f"{name}.max"
    stage, args = LIMITS[name]
    with boxed() as box:
        said = []
        for again in twice.get(name, (args, (disk(), None, "1M"))):
            stage(box.target, *again)
            said.append(cgroupfs.show(group(box, name), knob))
        undos = [entry["path"] for entry in read(box.target.journal.path).undos]

        assert len(set(said)) == 2
        assert len(undos) == len(set(undos))
        assert box.target.pid in cgroupfs.procs(group(box, name))


def test_everything_is_journalled_and_nothing_is_left() -> None:
    with boxed() as box:
        for stage, args in LIMITS.values():
            stage(box.target, *args)
        entries = read(box.target.journal.path)
        groups = {group(box, name) for name in (None, *LIMITS)}

        assert groups <= {entry["path"] for entry in entries.undos}
        assert all(os.path.isdir(path) for path in groups)
    assert not any(os.path.isdir(path) for path in groups)


def test_a_sandbox_can_be_born_with_its_groups() -> None:
    journal = Journal.claim(f"test-{os.getpid()}")
    paths = cgroups.prepare(journal, "cpu", "memory", "pids")
    pid = fork_into(*paths)
    if pid == 0:
        signal.pause()
    until(lambda: all(cgroupfs.procs(path) == [pid] for path in paths))
    with recording() as calls:
        cgroups.pids(Target(pid, journal), 30)
    journal.close()

    assert [call.arguments["text"] for call in calls] == ['"30"']
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


def test_a_process_can_join_the_limits_of_another_sandbox() -> None:
    with boxed(name="first") as first, boxed(name="second") as second:
        cgroups.pids(first.target, 40)
        cgroups.join_groups(second.target, first.target.pid)

        assert cgroupfs.limits_and_usage(second.target.pid)["pids.max"] == "40"
        assert set(cgroupfs.procs(group(first, "pids"))) == {first.target.pid, second.target.pid}
        with pytest.raises(StageError, match="in no control group of ours"):
            cgroups.join_groups(second.target, os.getpid())


# -- what may be asked for --------------------------------------------------------------------------------------------

WRONG = [
    (cgroups.cpu, (0,), "0 is not above zero"),
    (cgroups.cpu, (-1,), "-1 is not above zero"),
    (cgroups.cpu, (float("nan"),), "nan is not above zero"),
    (cgroups.cpu, (float("inf"),), "inf is not above zero"),
    (cgroups.cpu, ("half",), "'half' is no number"),
    (cgroups.cpu, (1000,), f"asked for 1000 CPUs, and this machine has {os.cpu_count()}"),
    (cgroups.cpu, (0.001,), "the kernel gives no less than 1000"),
    (cgroups.cpu, (0.5, 10), "the kernel takes 1000 to 1000000"),
    (cgroups.memory, (0,), "0 is not above zero"),
    (cgroups.memory, ("-2G",), "-2 is not above zero"),
    (cgroups.memory, ("2X",), "'2X' is no"),
    (cgroups.memory, ("nan",), "nan"),
    (cgroups.memory, (2,), "the kernel deals in pages"),
    (cgroups.memory, ("100T",), f"asked for 100 TB of memory, and this machine has {readable(machine_memory())}"),
    (cgroups.pids, (0,), "0 is not above zero"),
    (cgroups.pids, (1.5,), "1.5 is not a whole number"),
    (cgroups.pids, (1 << 30,), "kernel.pid_max"),
    (cgroups.io, ("/dev/none", "1M"), "there is no '/dev/none'"),
    (cgroups.io, ("/dev/null", "1M"), "not a block device"),
    (cgroups.io, ("999:0", "1M"), "there is no block device 999:0"),
    (cgroups.io, (disk(),), "no limit was given"),
    (cgroups.io, (disk(), "0"), "0 is not above zero"),
]


@pytest.mark.parametrize(("stage", "args", "message"), WRONG, ids=[f"{stage.__name__}{args}" for stage, args, _ in WRONG])
def test_what_cannot_be_is_refused_before_anything_is_made(
    stage: Callable[..., Any], args: tuple[Any, ...], message: str
) -> None:
    with boxed() as box:
        made = len(read(box.target.journal.path).undos)
        with pytest.raises(InputError) as caught:
            stage(box.target, *args)

        assert message in str(caught.value)
        assert len(read(box.target.journal.path).undos) == made


@pytest.mark.parametrize(
    ("text", "size"),
    [("2G", 2 << 30), ("512M", 512 << 20), ("1.5k", 1536), ("1MiB", 1 << 20), ("1mb", 1 << 20), (4096, 4096), ("0.5T", 1 << 39)],
)
def test_sizes_are_read_as_people_write_them(text: int | str, size: int) -> None:
    assert parse_size(text) == size
