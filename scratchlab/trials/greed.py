"""Bait for attacks by greed: there is nothing to steal, but the kernel's own counters say how far they came."""

from collections.abc import Iterator
from typing import NamedTuple

from scratchlab.attacks import Evidence
from scratchlab.attacks.resources import MIB
from scratchlab.container import Container
from scratchlab.errors import HostError
from scratchlab.linux import cgroupfs
from scratchlab.sandbox import Sandbox
from scratchlab.stages.sizes import machine_memory
from scratchlab.trials.baits import Bait, bait
from scratchlab.trials.lab import Lab

# A container's own limits may be large, and the machine is not ours alone: so in a fresh container they are made small.
SMALL_MEMORY, SMALL_PIDS = 48 * MIB, 20
MORE = 32 * MIB
MOST_PROCESSES = 2000


@bait("fork_bomb")
def few_processes(_lab: Lab, container: Container | None) -> Iterator[Bait]:
    """A limit on processes that a small bomb reaches."""

    def told(box: Sandbox) -> tuple[int]:
        limit = cgroupfs.show(cgroupfs.path_of("pids", box.name), "pids.max")
        most = 2 * (int(limit) if limit.isdigit() else SMALL_PIDS)
        if most > MOST_PROCESSES:
            raise HostError(f"the limit is so large that the bomb would start {most} processes", "lower it for the trial")
        return (most,)

    def look(evidence: Evidence, box: Sandbox) -> str:
        refused = cgroupfs.counters(cgroupfs.path_of("pids", box.name), "pids.events").get("max", 0)
        return "" if refused or not evidence.got_out else "no control group refused a process"

    yield Bait(told, look, container and container._replace(pids=container.pids and SMALL_PIDS))


@bait("memory_bomb", "tmpfs_bomb")
def little_memory(_lab: Lab, container: Container | None) -> Iterator[Bait]:
    """A limit on memory that a small bomb reaches."""

    def told(box: Sandbox) -> tuple[int]:
        limit = cgroupfs.show(cgroupfs.path_of("memory", box.name), "memory.max")
        size = (int(limit) if limit.isdigit() else SMALL_MEMORY) + MORE
        if size > machine_memory("MemAvailable") // 2:
            raise HostError("the limit is so large that the bomb would fill this machine", "lower it for the trial")
        return (size,)

    def look(evidence: Evidence, box: Sandbox) -> str:
        return "" if box.oom_kills() or not evidence.got_out else "the kernel killed nobody for it"

    yield Bait(told, look, container and container._replace(memory=container.memory and SMALL_MEMORY))


# Two loops that want 0.03 s each, all at once: more than any share below one CPU gives in a period of 0.1 s.
LOOPS, SECONDS = 2, 0.03
SLACK_US = 5_000  # of each loop: the kernel hands out a quota in slices of this length


@bait("cpu_hog")
def share_of_a_cpu(_lab: Lab, _container: Container | None) -> Iterator[Bait]:
    """The limit as it is; what counts is the kernel's own count of time used, and of periods."""
    start: list[Usage] = []

    def told(box: Sandbox) -> tuple[float, int]:
        start.append(Usage.of(box))
        return SECONDS, LOOPS

    def look(_: Evidence, box: Sandbox) -> str:
        end = Usage.of(box)
        used, periods = end.used_us - start[0].used_us, end.periods - start[0].periods
        fair = (periods + 1) * end.quota_us + LOOPS * SLACK_US
        return "" if end.quota_us and used <= fair else f"{used / 1e6:.2f} s of CPU in {periods} periods with a limit"

    yield Bait(told, look)


class Usage(NamedTuple):
    """What a sandbox has had of the CPUs, by the kernel's counters."""

    used_us: int
    periods: int  # in which it wanted to run, and a limit was in force
    quota_us: int  # of each period; 0 without a limit

    @classmethod
    def of(cls, box: Sandbox) -> "Usage":
        """Of the groups that a sandbox is in now."""
        group = cgroupfs.path_of("cpu", box.name)
        quota, _, _ = cgroupfs.show(group, "cpu.max").partition(" ")
        used = int(cgroupfs.limits_and_usage(box.pid).get("cpu.usage_usec", 0))
        periods = cgroupfs.counters(group, "cpu.stat").get("nr_periods", 0)
        return cls(used, periods, int(quota) if quota.isdigit() else 0)
