"""Loads that prove a limit: a small process in the sandbox's groups runs into it, and the kernel's counters tell.

Each `prove_…` runs on the host's side. The load gets oom_score_adj 1000: if the kernel must kill, it kills the load.
"""

import json
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from scratchlab.errors import HostError, StageError
from scratchlab.linux import cgroupfs, write_file
from scratchlab.linux.cgroup_fork import fork_into
from scratchlab.stages.disks import Rate, measure, scratch
from scratchlab.stages.sizes import machine_memory, readable
from scratchlab.stages.stage import Target

MIB = 1 << 20
_MADV_POPULATE_WRITE = 23  # madvise(2); Python's mmap does not know it yet


class Proof(NamedTuple):
    """What a load did at a limit, and what the kernel counted meanwhile."""

    stage: str
    group: str  # the control group, as a directory
    limit: str  # the group's own files, and what they say
    load: str  # what the load did, and what it got
    counters: dict[str, tuple[int, int]]  # the kernel's, before and after
    held: bool

    @property
    def grew(self) -> list[str]:
        """The kernel's counters that are higher than before: of all numbers in a proof, what is the same each time."""
        return [name for name, (before, after) in self.counters.items() if after > before]

    def __str__(self) -> str:
        rows = {"group": self.group, "limit": self.limit, "load": self.load}
        rows |= {name: f"{before} → {after}" for name, (before, after) in self.counters.items()}
        width = max(map(len, rows))
        heading = f"{self.stage}: the limit {'holds' if self.held else 'DOES NOT HOLD'}"
        return "\n".join([heading, *(f"  {name:{width}}  {text}" for name, text in rows.items())])

    def __repr__(self) -> str:
        return str(self)

    def to_data(self) -> dict[str, Any]:
        """What another process needs to have the same Proof."""
        return self._asdict()

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "Proof":
        """The Proof that `to_data` took apart; JSON has no tuples."""
        return cls(**data | {"counters": {name: (before, after) for name, (before, after) in data["counters"].items()}})


# -- the four proofs --------------------------------------------------------------------------------------------------


def prove_cpu(target: Target) -> Proof:
    """Run busy loops for half a second: the kernel stops them when the quota of a period is used up.  cgroups(7)"""
    group, limit = _limited(target, "cpu", "cpu.max")
    quota, period = (int(word) / 1e6 for word in limit.split())
    loops, cpus = int(quota / period) + 1, os.cpu_count() or 1
    if loops > cpus:
        raise HostError(f"{quota / period:g} CPUs is all that this machine has, so no load can go above it", "lower the limit")
    seconds = max(0.5, 5 * period)
    before = cgroupfs.counters(group, "cpu.stat")
    ran = _run(target, group, lambda: _burn(loops, seconds), seconds + 30)
    counters = _difference(before, cgroupfs.counters(group, "cpu.stat"), "nr_periods", "nr_throttled", "throttled_usec")

    throttled = counters["nr_throttled"][1] > counters["nr_throttled"][0]
    what = f"{_many(loops, 'busy loop')} for {ran.seconds:.2f} s got {ran.cpu:.2f} s: {ran.cpu / ran.seconds:.0%} of one CPU"
    if not throttled and ran.cpu < ran.seconds * quota / period:
        raise HostError(f"{what}; that is below the limit, since other work keeps the CPUs busy", "try again")
    # The load may start and end in the middle of a period, so one quota more is fair; and a slice may run over its end.
    fair = (ran.seconds / period + 1) * quota + 0.05 * loops
    return _proof("cpu", group, "cpu.max", what, counters, throttled and ran.cpu <= fair)


def prove_memory(target: Target) -> Proof:
    """Fill memory until the kernel kills the load.  cgroups(7)"""
    group, limit = _limited(target, "memory", "memory.max")
    size = int(limit) + 64 * MIB
    need, free = size - int(cgroupfs.show(group, "memory.current") or 0), machine_memory("MemAvailable")
    if need > free - 64 * MIB:
        raise HostError(
            f"the proof would fill {readable(need)} of memory, and this machine has {readable(free)} free (MemAvailable)",
            "lower the limit, or free memory; the limit itself is set",
        )
    before = _memory_counters(group)
    ran = _run(target, group, lambda: _fill(size), 120)
    counters = _difference(before, _memory_counters(group), "oom_kill", "peak")

    killed = ran.signal == signal.SIGKILL
    end = "was killed" if killed else "got it all"
    what = f"a process that fills {readable(size)} {end}"
    return _proof("memory", group, "memory.max", what, counters, killed and counters["oom_kill"][1] > counters["oom_kill"][0])


def prove_pids(target: Target) -> Proof:
    """Start threads until the kernel refuses one: it counts every thread, and a process is its first.  cgroups(7)"""
    group, limit = _limited(target, "pids", "pids.max")
    before = cgroupfs.counters(group, "pids.events")
    ran = _run(target, group, lambda: _multiply(int(limit) + 1), 120)
    counters = _difference(before, cgroupfs.counters(group, "pids.events"), "max")

    started, refused = ran.said["started"], ran.said["refused"]
    counted = counters["max"][1] > counters["max"][0]
    if refused and not counted:
        raise HostError(
            f"the machine itself refused to start more than {started} threads, before the limit of {limit}", "ulimit -u"
        )
    what = (
        f"a process that starts threads got {started}, then EAGAIN" if refused else f"a process that starts threads got {started}"
    )
    return _proof("pids", group, "pids.max", what, counters, bool(refused) and started <= int(limit))


def prove_io(target: Target) -> Proof:
    """Read or write a disk past its cache, first without the limit and then with it.  cgroups(7)"""
    group, limit = _limited(target, "io", "io.max")
    rate = Rate.first(limit)
    with scratch(rate) as fd:
        free = measure(fd, rate)
        before = _disk_bytes(group, rate.device)
        ran = _run(target, group, lambda: {"rate": measure(fd, rate)}, 120)
    counters = _difference(before, _disk_bytes(group, rate.device), "wbytes" if rate.writes else "rbytes")

    if free < 1.5 * rate.maximum:
        raise HostError(f"the disk itself does only {rate.of(free)}, so a limit of {rate.of(rate.maximum)} holds nothing back")
    what = f"{'writes' if rate.writes else 'reads'} {rate.of(ran.said['rate'])}, and without the limit {rate.of(free)}"
    return _proof("io", group, "io.max", what, counters, ran.said["rate"] < 1.3 * rate.maximum)


def _limited(target: Target, controller: str, knob: str) -> tuple[str, str]:
    """The sandbox's group for a controller, and the limit there. Raises StageError if there is none to prove."""
    group = cgroupfs.path_of(controller, target.name)
    limit = cgroupfs.show(group, knob)
    if not limit or limit.startswith("max"):
        raise StageError(f"{target.name} has no {controller} limit to prove", f"apply {controller} first")
    return group, limit


def _proof(stage: str, group: str, knob: str, load: str, counters: dict[str, tuple[int, int]], held: bool) -> Proof:
    proof = Proof(stage, group, cgroupfs.shown_in(group, knob), load, counters, held)
    if not held:
        raise StageError(f"the {stage} limit is written, but not enforced\n{proof}", f"check: cat {group}/{knob.split('.')[0]}.*")
    return proof


def _difference(before: dict[str, int], after: dict[str, int], *names: str) -> dict[str, tuple[int, int]]:
    return {name: (before.get(name, 0), after.get(name, 0)) for name in names}


def _memory_counters(group: str) -> dict[str, int]:
    return cgroupfs.counters(group, "memory.events") | {"peak": int(cgroupfs.show(group, "memory.peak") or 0)}


def _disk_bytes(group: str, device: str) -> dict[str, int]:
    rows = [line.split() for line in cgroupfs.show(group, "io.stat").splitlines()]
    pairs = [pair.split("=") for row in rows if row[0] == device for pair in row[1:]]
    return {key: int(number) for key, number in pairs}


def _many(count: int, thing: str) -> str:
    return f"a {thing}" if count == 1 else f"{count} {thing}s"


# -- a process in the sandbox's groups --------------------------------------------------------------------------------


class Ran(NamedTuple):
    """How a load ended."""

    said: dict[str, float]  # what it returned; empty if it was killed
    signal: int
    cpu: float  # seconds of CPU time, with its children
    seconds: float  # from its birth to its end


def _run(target: Target, group: str, load: Callable[[], dict[str, float]], patience: float) -> Ran:
    """Run a load in the sandbox's group, and in the one that tracks it: so it ends with the sandbox, whatever happens."""
    reader, writer = os.pipe()
    start = time.monotonic()
    tracked = cgroupfs.path_of(None, target.name)
    pid = fork_into(*dict.fromkeys(path for path in (tracked, group) if os.path.isdir(path)))
    if pid == 0:
        try:
            write_file("/proc/self/oom_score_adj", "1000")
            os.write(writer, json.dumps(load()).encode())
        finally:
            os._exit(0)  # not an exception, which would run the keeper's code here
    os.close(writer)
    text = _answer(reader, pid, patience)
    _, status, usage = os.wait4(pid, 0)
    if not text and not os.WIFSIGNALED(status):
        raise StageError("the load could not run in the sandbox's groups", f"check: dmesg, and {group}")
    return Ran(json.loads(text or "{}"), os.WTERMSIG(status), usage.ru_utime + usage.ru_stime, time.monotonic() - start)


def _answer(reader: int, pid: int, patience: float) -> bytes:
    """What the load writes before it ends; a load that neither writes nor ends is killed."""
    with open(reader, "rb") as stream:
        if not select.select([stream], [], [], patience)[0]:
            os.kill(pid, signal.SIGKILL)
        return stream.read()


# -- loads ------------------------------------------------------------------------------------------------------------


def _burn(loops: int, seconds: float) -> dict[str, float]:
    end = time.monotonic() + seconds
    children = [_spin_apart(end) for _ in range(loops - 1)]
    _spin(end)
    for pid in children:
        os.waitpid(pid, 0)
    return {}


def _spin(end: float) -> None:
    while time.monotonic() < end:
        pass


def _spin_apart(end: float) -> int:
    pid = os.fork()
    if pid == 0:
        _spin(end)
        os._exit(0)
    return pid


def _fill(size: int) -> dict[str, float]:
    import mmap

    chunks = []  # kept, or each would be freed again
    for _ in range(-(-size // (64 * MIB))):
        chunk = mmap.mmap(-1, 64 * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        try:
            # Huge pages, written by the kernel: 2 GB in 0.2 s, where touching page by page takes 4.
            chunk.madvise(mmap.MADV_HUGEPAGE)
            chunk.madvise(_MADV_POPULATE_WRITE)
        except OSError:  # before Linux 5.14, or built without huge pages
            for offset in range(0, len(chunk), mmap.PAGESIZE):
                chunk[offset] = 1
        chunks.append(chunk)
    return {"chunks": len(chunks)}


def _multiply(attempts: int) -> dict[str, float]:
    import _thread

    _thread.stack_size(64 << 10)
    never = _thread.allocate_lock()
    never.acquire()
    for started in range(1, attempts):
        try:
            _thread.start_new_thread(never.acquire, ())
        except RuntimeError:  # how Python says that clone3(2) gave EAGAIN
            return {"started": started, "refused": 1}
    return {"started": attempts, "refused": 0}
