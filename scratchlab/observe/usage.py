"""What a process's control groups allow, what is used of it, and how often the kernel had to step in.  cgroups(7)"""

import os
from collections.abc import Mapping
from typing import NamedTuple

from scratchlab.linux import cgroupfs
from scratchlab.linux.cgroup_files import peek

CONTROLLERS = ("cpu", "memory", "pids", "io")

# The counters that tell that a limit was met, by the file and the name that version 2 has for them.
EVENTS = {
    "cpu": {"throttled": ("cpu.stat", "nr_throttled")},
    "memory": {"killed": ("memory.events", "oom_kill")},
    "pids": {"refused": ("pids.events", "max")},
    "io": {},
}
USED = {"memory": "memory.current", "pids": "pids.current"}


class Usage(NamedTuple):
    """One controller of a process's control groups."""

    controller: str
    version: int
    group: tuple[str, ...]  # the way to it from the root of its tree, by name
    below: tuple[str, ...]  # groups in it
    limit: str  # as version 2 writes it: "20000 100000", "67108864"; "max" or "" where there is none
    used: int | None  # bytes, or processes; None where use is a matter of time
    events: dict[str, int]

    @property
    def share(self) -> float | None:
        """How much of the limit is used, from 0 to 1; None where nothing can be said."""
        return self.used / int(self.limit) if self.used is not None and self.limit.isdigit() and int(self.limit) else None


def usage_of(pid: int) -> tuple[Usage, ...]:
    """The control groups of a process, by controller.  cgroups(7)"""
    groups = cgroupfs.groups_of(pid)
    return tuple(_usage(controller, groups[controller]) for controller in CONTROLLERS if controller in groups)


def _usage(controller: str, path: str) -> Usage:
    mount = next(each.mount for each in cgroupfs.layout().hierarchies if controller in each.controllers)
    used = cgroupfs.show(path, USED[controller]) if controller in USED else ""
    events = {name: cgroupfs.counters(path, file).get(key, 0) for name, (file, key) in EVENTS[controller].items()}
    return Usage(
        controller=controller,
        version=cgroupfs.version(path),
        group=tuple(word for word in os.path.relpath(path, mount).split("/") if word != "."),
        below=tuple(sorted(entry.name for entry in os.scandir(path) if entry.is_dir())),
        limit=cgroupfs.show(path, f"{controller}.max"),
        used=int(used) if used else None,
        events=events,
    )


# -- moving along -----------------------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """The counters of a process's groups at one moment. Two of them make a rate."""

    cpu_usec: int
    throttled_usec: int
    periods: int
    throttled: int  # periods in which the quota was used up
    memory: int
    # Pressure, by resource: how long some process had to wait for it. None of them where it is not counted.
    stalled_usec: Mapping[str, int]


def sample(pid: int) -> Sample:
    """Read the counters of a process's groups now. Raises FileNotFoundError if it has ended.  cgroups(7), PSI"""
    groups = cgroupfs.groups_of(pid)
    stat = cgroupfs.counters(groups["cpu"], "cpu.stat") if "cpu" in groups else {}
    memory = cgroupfs.show(groups.get("memory", ""), "memory.current")
    return Sample(
        cpu_usec=_cpu_usec(groups, stat),
        throttled_usec=stat.get("throttled_usec", 0),
        periods=stat.get("nr_periods", 0),
        throttled=stat.get("nr_throttled", 0),
        memory=int(memory or 0),
        stalled_usec=_pressure(groups),
    )


def _cpu_usec(groups: Mapping[str, str], stat: Mapping[str, int]) -> int:
    nanoseconds = peek(groups.get("cpuacct", ""), "cpuacct.usage")  # version 1 counts there
    return int(nanoseconds) // 1000 if nanoseconds else stat.get("usage_usec", 0)


def _pressure(groups: Mapping[str, str]) -> dict[str, int]:
    """Pressure is counted in version 2's tree, whichever version the controllers are in."""
    tree = next((path for path in groups.values() if cgroupfs.has(path, "cpu.pressure")), "")
    found = {resource: peek(tree, f"{resource}.pressure") for resource in ("cpu", "memory", "io")}
    return {resource: parse_pressure(text) for resource, text in found.items() if text}


def parse_pressure(text: str) -> int:
    """Microseconds for which some process had to wait, from `some avg10=0.00 … total=2468`.  Documentation/accounting/psi.rst"""
    some = next((line for line in text.splitlines() if line.startswith("some ")), "")
    total = some.rpartition("total=")[2]
    return int(total) if total.isdecimal() and len(total) < 20 else 0
