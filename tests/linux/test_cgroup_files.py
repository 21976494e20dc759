"""The files of control groups: limits as both versions write them, and refusals that name their cause."""

import os
import signal
from collections.abc import Callable

import pytest

from scratchlab.errors import KernelError
from scratchlab.linux import cgroupfs
from scratchlab.linux.cgroup_v1 import from_v1, to_v1
from tests.conftest import needs_root
from tests.linux.groups import NAME, TREES, fork_and, group, process, until

# -- limits -----------------------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize(
    ("tree", "knob", "values"),
    [
        ("cpu", "cpu.max", ["20000 100000", "5000 10000", "max 100000"]),
        ("cpu", "cpu.weight", ["100", "1", "10", "120", "10000"]),
        ("memory", "memory.max", ["1073741824", "67108864", "2147483648", "max"]),
        ("pids", "pids.max", ["7", "max"]),
    ],
)
def test_a_limit_reads_as_it_was_written_up_and_down(tree: str, knob: str, values: list[str]) -> None:
    with group(tree) as path:
        for value in values:
            cgroupfs.limit(path, knob, value)

            assert cgroupfs.show(path, knob) == value


@needs_root
def test_limits_and_usage_are_told_in_version_2s_words() -> None:
    paths = {tree: cgroupfs.create(tree, NAME) for tree in TREES}
    with process(paths["memory"]) as pid:
        for path in set(paths.values()):
            cgroupfs.enter(path, pid)
        cgroupfs.limit(paths["pids"], "pids.max", "64")
        cgroupfs.limit(paths["cpu"], "cpu.max", "20000 100000")
        told = cgroupfs.limits_and_usage(pid)

    for path in paths.values():
        cgroupfs.remove(path)
    assert told["cpu.max"] == "20000 100000"
    assert (told["pids.max"], told["pids.current"]) == ("64", "1")
    assert (told["memory.max"], told["io.max"]) == ("max", "max")
    assert told["memory.group"] == paths["memory"]
    assert int(told["memory.current"]) >= 0


def test_limits_of_a_process_in_no_group_of_ours_are_told_too() -> None:
    told = cgroupfs.limits_and_usage(os.getpid())

    assert {"cpu.max", "memory.max", "pids.max", "io.max"} <= told.keys()


# -- refusals ---------------------------------------------------------------------------------------------------------


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(KernelError) as caught:
        act()
    return str(caught.value)


@needs_root
def test_a_refusal_says_that_the_process_is_dead() -> None:
    pid = fork_and(lambda: None)
    os.waitpid(pid, 0)

    with group() as path:
        assert f"there is no process {pid} any more" in refusal(lambda: cgroupfs.enter(path, pid))


@needs_root
def test_a_refusal_says_that_the_group_is_gone() -> None:
    with group() as path:
        pass

    assert f"the group {path} is gone" in refusal(lambda: cgroupfs.enter(path, os.getpid()))


def fill() -> None:
    memory = bytearray(32 << 20)
    signal.pause()
    memory.clear()


@needs_root
def test_a_refusal_says_who_is_in_the_way() -> None:
    with group("memory") as path:
        if cgroupfs.version(path) == 1:
            with process(path, fill):
                until(lambda: int(cgroupfs.show(path, "memory.current")) > 32 << 20)
                hint = refusal(lambda: cgroupfs.limit(path, "memory.max", "1048576"))
            assert "the group uses 3" in hint
        else:
            with process(path) as pid:
                hint = refusal(lambda: cgroupfs.write(path, "cgroup.subtree_control", "+memory"))
            assert f"these are in {path}: {pid} (" in hint
            assert "hands controllers down" in refusal(lambda: cgroupfs.enter(os.path.dirname(path), os.getpid()))


@needs_root
def test_a_refusal_says_that_the_group_above_hands_a_controller_not_down() -> None:
    with group() as path:
        os.mkdir(f"{path}/below")
        missing = "no such file" if cgroupfs.version(path) == 1 else "does not hand pids down"

        assert missing in refusal(lambda: cgroupfs.write(f"{path}/below", "cgroup.subtree_control", "+pids"))


# -- version 1's files, as text ---------------------------------------------------------------------------------------


def files(**texts: str) -> Callable[[str], str]:
    return lambda name: texts.get(name.replace(".", "_"), "")


@pytest.mark.parametrize(
    ("knob", "value", "written"),
    [
        ("cpu.max", "20000 100000", [("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "20000")]),
        ("cpu.max", "max 100000", [("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "-1")]),
        ("cpu.weight", "10", [("cpu.shares", "102")]),
        ("cpu.weight", "1", [("cpu.shares", "10")]),
        ("pids.max", "7", [("pids.max", "7")]),
        ("memory.max", "4096", [("memory.limit_in_bytes", "4096")]),
        ("io.max", "8:0 rbps=5 wiops=max", [
            ("blkio.throttle.read_bps_device", "8:0 5"), ("blkio.throttle.write_iops_device", "8:0 0"),
        ]),
    ],
)  # fmt: skip
def test_version_1_takes_a_limit_in_its_own_files(knob: str, value: str, written: list[tuple[str, str]]) -> None:
    assert to_v1(knob, value, files()) == written


@pytest.mark.parametrize(("now", "first"), [("8192", "memory.limit_in_bytes"), ("1024", "memory.memsw.limit_in_bytes")])
def test_the_sum_of_memory_and_swap_is_raised_first_and_lowered_last(now: str, first: str) -> None:
    assert to_v1("memory.max", "4096", files(memory_memsw_limit_in_bytes=now))[0] == (first, "4096")


@pytest.mark.parametrize(
    ("knob", "texts", "shown"),
    [
        ("cpu.max", {"cpu_cfs_quota_us": "-1", "cpu_cfs_period_us": "100000"}, "max 100000"),
        ("cpu.max", {}, ""),
        ("cpu.weight", {"cpu_shares": "1024"}, "100"),
        ("cpu.weight", {}, ""),
        ("cpu.stat", {"cpu_stat": "nr_throttled 2\nthrottled_time 7000"}, "nr_throttled 2\nthrottled_usec 7"),
        ("memory.max", {"memory_limit_in_bytes": "9223372036854771712"}, "max"),
        ("memory.events", {"memory_oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3"}, "oom_kill 3"),
        ("io.max", {"blkio_throttle_read_bps_device": "8:0 5"}, "8:0 rbps=5 wbps=max riops=max wiops=max"),
        ("io.stat", {"blkio_throttle_io_service_bytes": "8:0 Read 5\n8:0 Write 6\nTotal 11"}, "8:0 rbytes=5 wbytes=6"),
        ("io.stat", {"blkio_throttle_io_service_bytes": "Total 0"}, ""),
    ],
)
def test_version_1_is_read_in_version_2s_words(knob: str, texts: dict[str, str], shown: str) -> None:
    assert from_v1(knob, files(**texts)) == shown
