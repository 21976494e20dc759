"""A process, a container and a virtual machine side by side: what each costs, and what each has for itself."""

import functools
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from scratchlab import linux, stages
from scratchlab.errors import GoneError, HostError, KernelError
from scratchlab.lessons.experiments import asked, in_child
from scratchlab.sandbox import Sandbox
from scratchlab.stages import Step, step

BOOT_ID = "/proc/sys/kernel/random/boot_id"  # drawn by a kernel when it starts
DAY = 86400

# Every namespace but that of users, so that the files of the host can be read as before.
APART: tuple[Step, ...] = (
    step(stages.unshare_uts), step(stages.unshare_ipc), step(stages.unshare_net), step(stages.unshare_cgroup),
    step(stages.unshare_pid), step(stages.unshare_mount), step(stages.private_mounts), step(stages.proc),
)  # fmt: skip


class Kind(NamedTuple):
    """One kind of box for a program."""

    name: str
    start_ms: float  # until `true` has run in a new one
    memory_kb: int  # that it takes while it does nothing
    own_kernel: bool
    own_date: bool  # it can be another day in there
    own_uptime: bool  # it can have run for longer in there
    seen_by_host: bool  # the host's process list shows what runs in there
    measured: bool = True  # here and now; else on the machine on which the lesson was written

    def better(self, fact: str, other: "Kind") -> bool:
        """Whether one fact speaks for it: it costs less, or has something that the other has not."""
        mine, theirs = getattr(self, fact), getattr(other, fact)
        return bool(mine and not theirs if isinstance(mine, bool) else mine < theirs)


# From a Debian guest of 512 MB that was restored from its snapshot, without KVM, on two cores.
RECORDED = Kind("machine", 1500.0, 136_000, True, True, True, False, measured=False)
RECORDED_CONTAINER_MS = 26.0  # on the same computer: a start is only comparable with another one there


def recorded(container: Kind) -> Kind:
    """The machine as it was measured elsewhere, its start scaled to the computer on which this container was measured."""
    return RECORDED._replace(start_ms=RECORDED.start_ms / RECORDED_CONTAINER_MS * container.start_ms)


class Kinds(NamedTuple):
    """The three of them. Its repr compares, and so is the same everywhere; the figures are in `figures`."""

    process: Kind
    container: Kind
    machine: Kind

    def rank(self, fact: str) -> tuple[str, ...]:
        """The names, from the cheapest on."""
        return tuple(kind.name for kind in sorted(self, key=lambda kind: float(getattr(kind, fact))))

    @property
    def figures(self) -> str:
        """What was measured here, in figures."""
        rows = [f"{kind.name:10} starts in {kind.start_ms:7.1f} ms, takes {kind.memory_kb / 1024:6.1f} MB" for kind in self]
        return "\n".join([*rows, *([] if self.machine.measured else ["the machine was measured elsewhere: none is ready here"])])

    def __repr__(self) -> str:
        rows = [("", *(kind.name for kind in self))]
        for words, fact, places in (("starts", "start_ms", _SOONER), ("memory", "memory_kb", _LESS)):
            ranks = self.rank(fact)
            rows.append((words, *(places[ranks.index(kind.name)] for kind in self)))
        for fact in ("own_kernel", "own_date", "own_uptime", "seen_by_host"):
            rows.append((fact.replace("_", " "), *("yes" if getattr(kind, fact) else "no" for kind in self)))
        return "\n".join("  ".join(word.ljust(12) for word in row).rstrip() for row in rows)


_SOONER, _LESS = ("first", "second", "last"), ("least", "more", "most")


@functools.cache
def kinds() -> Kinds:
    """Measure all three, once in a program.

    Where no machine is ready to start, its column is what was measured elsewhere.
    """
    container = _container()
    return Kinds(_process(), container, _machine() or recorded(container))


# -- a process --------------------------------------------------------------------------------------------------------


def _process() -> Kind:
    start = _fastest(lambda: subprocess.run(["true"], check=True))
    with _waiting() as (marker, pid):
        return Kind("process", start, _memory(pid), False, False, False, _listed(marker))


@contextmanager
def _waiting() -> Iterator[tuple[str, int]]:
    """A shell that has said a line and now waits, with a marker among its words; gives marker and pid."""
    marker = _marker()
    words = ["sh", "-c", "echo; read never", marker]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        assert shell.stdin and shell.stdout
        shell.stdout.readline()  # before that, its memory may still be that of the program that started it
        yield marker, shell.pid
        shell.stdin.close()


# -- a container ------------------------------------------------------------------------------------------------------


def _container() -> Kind:
    def start() -> None:
        with Sandbox("kind") as box:
            box.play(APART)
            box.run("true")

    fastest, marker = _fastest(start), _marker()
    with Sandbox("kind") as box:
        box.play(APART)
        running = box.start("sleep", marker)
        return Kind(
            "container",
            fastest,
            _memory(box.pid),
            box.run("cat", BOOT_ID).out != Path(BOOT_ID).read_text().strip(),
            bool(asked(box, _ahead, "realtime")),
            bool(asked(box, _ahead, "boottime")),
            _listed(marker) and not running.ended(),
        )


def _ahead(clock: str) -> bool:
    """Whether a clock can be a day ahead in a time namespace. In a child: it changes where further children are born."""

    def attempt() -> int:
        linux.unshare(linux.Clone.NEWTIME)
        with suppress(KernelError):
            linux.write_file("/proc/self/timens_offsets", f"{clock} {DAY} 0\n")
            return 1
        return 0

    return in_child(attempt) == 1


# -- a virtual machine ------------------------------------------------------------------------------------------------


def _machine() -> Kind | None:
    from scratchlab.vm import Machine
    from scratchlab.vm.ready import ready

    with suppress(HostError, GoneError, OSError):  # the last where the cache, in which a machine is written down, is read-only
        if ready():
            return _measured(Machine)
    return None


def _measured(kind: Any) -> Kind:
    begin, marker = time.perf_counter(), _marker()
    with kind.start(about="a lesson's measurement") as machine:
        machine.run(["true"])
        start = (time.perf_counter() - begin) * 1000
        machine.run(["sh", "-c", f"sleep {marker} >/dev/null 2>&1 &"])
        another_kernel = machine.run(["cat", BOOT_ID]).out.strip() != Path(BOOT_ID).read_text().strip()
        uptime = float(machine.run(["cat", "/proc/uptime"]).out.split()[0])
        machine.run(["date", "--set", "2038-01-20"])
        year = machine.run(["date", "+%Y"]).out.strip()
        return Kind(
            "machine",
            start,
            _memory(machine.pid),
            another_kernel,
            year == "2038" != time.strftime("%Y"),
            abs(uptime - float(Path("/proc/uptime").read_text().split()[0])) > 1,
            _listed(marker),
        )


# -- measuring --------------------------------------------------------------------------------------------------------


def _fastest(act: Callable[[], Any], times: int = 3) -> float:
    """Milliseconds of the fastest try: what else this computer does makes it slower, and never faster."""
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        act()
        found.append((time.perf_counter() - begin) * 1000)
    return min(found)


def _memory(pid: int) -> int:
    """Kilobytes, with what is shared divided among those who share it.  proc_pid_smaps(5)"""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _marker() -> str:
    """An argument for `sleep` that nobody else has."""
    return f"{100 + int.from_bytes(os.urandom(4), 'big') / 1e10:.9f}"


def _listed(marker: str) -> bool:
    """Whether the host's process list has it."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if marker.encode() in file.read_bytes():
                return True
    return False
