"""Limits that are felt: what many believe, and experiments that refute it."""

import time
from tempfile import TemporaryDirectory

from scratchlab import stages
from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.lessons.course.lesson_12 import OUTLINE
from scratchlab.linux import cgroupfs
from scratchlab.linux.cgroup_files import table
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step

MIB = 1 << 20


def a_limit_slows_a_short_request_down() -> bool:
    """After a rest, work for less than one period's quota. Did the kernel hold the process back?"""
    with Sandbox("experiment") as box:
        box.play([step(stages.cpu, 0.5)])
        file = f"{cgroupfs.path_of('cpu', box.name)}/cpu.stat"

        def request() -> list[str]:
            time.sleep(0.3)
            with open(file) as stat:
                before, begin = stat.read(), time.process_time()
            while time.process_time() - begin < 0.005:
                pass
            with open(file) as stat:
                return [before, stat.read()]

        before, after = (table(text)["nr_throttled"] for text in box.play([step(request)])[0]["value"])
        return after > before


def a_large_file_kills() -> bool:
    """With little memory, write a file of twice that size to a disk, and read it."""
    with TemporaryDirectory(dir="/var/tmp") as folder, Sandbox("experiment") as box:
        box.play([step(stages.memory, "48M")])
        file = f"{folder}/file"
        wrote = box.run("dd", "if=/dev/zero", f"of={file}", "bs=1M", "count=96")
        read = box.run("dd", f"if={file}", "of=/dev/null", "bs=1M")
        return not (wrote.ok and read.ok)


def a_file_in_memory_kills() -> bool:
    """With little memory, write the same file to a tmpfs: a program that itself needs one megabyte."""
    with Sandbox("experiment") as box:
        box.play([*OUTLINE.points["little memory"], step(stages.tmpfs, "/mnt", "200M")])
        return box.run("dd", "if=/dev/zero", "of=/mnt/file", "bs=1M", "count=96").signal == "SIGKILL"


BELIEFS = {
    "half-a-cpu-is-half-the-speed": Belief(
        "With half a CPU, everything takes twice as long.",
        "A service may use half a CPU, 50 ms in 100, and was idle. A request needs 5 ms. Does the limit slow it down?",
        {"yes, to half the speed": True, "no, not at all": False},
        a_limit_slows_a_short_request_down,
    ),
    "a-full-group-is-killed": Belief(
        "A group whose memory is full is about to be killed.",
        "A group may use 48 MB. A program in it writes a file of 96 MB to a disk, and reads it. Is it killed?",
        {"yes, that is twice the limit": True, "no": False},
        a_large_file_kills,
    ),
    "out-of-memory-is-the-heap": Belief(
        "A program that is killed for want of memory has asked for too much memory.",
        "The same program needs 1 MB itself, and writes the 96 MB to a file in a tmpfs. Is it killed?",
        {"no, it has no use for 48 MB": False, "yes": True},
        a_file_in_memory_kills,
    ),
}  # fmt: skip
