"""Which orders of some steps work: each is built for real, by a process of its own on a host to throw away."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import permutations
from typing import Any, NamedTuple, TextIO

from scratchlab import linux
from scratchlab.errors import KernelError, StageError
from scratchlab.lessons.experiments import in_child
from scratchlab.lessons.hosts import shared_host
from scratchlab.linux.proc import MountPoint, parse_mountinfo
from scratchlab.stages import STAGES, Step, about, step
from scratchlab.stages.stage import perform

WORKS, WRONG, BY_US, BY_KERNEL = "works", "built, but wrong", "refused by the library", "refused by the kernel"


class Built(NamedTuple):
    """One order, and how far it came."""

    order: tuple[str, ...]  # the stages' names
    done: int  # how many steps were done
    outcome: str
    why: str  # what was refused, or what is wrong

    def __repr__(self) -> str:
        marks = ["✓" if number < self.done else "✗" if number == self.done else "·" for number in range(len(self.order))]
        rows = [f"  {mark} {name}" for mark, name in zip(marks, self.order, strict=True)]
        return "\n".join([f"{self.outcome}: {self.why}" if self.why else self.outcome, *rows])


class Orders(NamedTuple):
    """Every order of some steps."""

    built: tuple[Built, ...]

    def __getitem__(self, outcome: str) -> list[Built]:  # type: ignore[override]
        return [each for each in self.built if each.outcome == outcome]

    def __repr__(self) -> str:
        counts = Counter(each.outcome for each in self.built)
        rows = [f"  {counts[outcome]:4} {outcome}" for outcome in (BY_US, BY_KERNEL, WRONG, WORKS)]
        return "\n".join([f"{len(self.built)} orders of {len(self.built[0].order)} steps", *rows])


def build(steps: Sequence[Step]) -> Built:
    """Build one order, and look at what came of it, from inside and from the host."""
    return _tried(steps, [tuple(range(len(steps)))])[0]


def every_order(steps: Sequence[Step]) -> Orders:
    """Build every order. One that begins like another that failed fails like that one, and is not built again."""
    return Orders(tuple(_tried(steps, list(permutations(range(len(steps)))))))


def _tried(steps: Sequence[Step], orders: list[tuple[int, ...]]) -> list[Built]:
    packed = [[item.name, list(item.args)] for item in steps]
    with shared_host() as host:
        found = host.play([step(_try_each, packed, orders)])[0]["value"]
    failed = {tuple(order[: done + 1]): (done, outcome, why) for order, done, outcome, why in found if done < len(steps)}
    whole = {tuple(order): (done, outcome, why) for order, done, outcome, why in found}
    names = [item.name for item in steps]
    return [
        Built(tuple(names[each] for each in order), *(whole.get(order) or failed[_prefix(order, failed)])) for order in orders
    ]


def _prefix(order: tuple[int, ...], failed: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    """How an order begins that was seen to fail, or ()."""
    return next((known for known in failed if order[: len(known)] == known), ())


# -- on the host to throw away ----------------------------------------------------------------------------------------


def _try_each(packed: list[tuple[str, list[Any]]], orders: list[list[int]]) -> list[tuple[list[int], int, str, str]]:
    """Those orders that had to be built, each with how far it came."""
    steps = [Step(STAGES[name], tuple(args)) for name, args in packed]
    failed: set[tuple[int, ...]] = set()
    found = []
    # Open all the time: what comes to be mounted on /proc by mistake would hide it.
    with open("/proc/self/mountinfo") as mountinfo:
        for order in orders:
            if not _prefix(tuple(order), failed):
                done, outcome, why = _try([steps[number] for number in order], mountinfo)
                found.append((order, done, outcome, why))
                failed |= {tuple(order[: done + 1])} if done < len(order) else set()
    return found


def _try(order: list[Step], mountinfo: TextIO) -> tuple[int, str, str]:
    before = _mounts(mountinfo)
    reader, writer = os.pipe()
    in_child(lambda: os.write(writer, json.dumps(_build(order)).encode()) * 0)
    os.close(writer)
    with open(reader) as stream:
        done, outcome, why = json.load(stream)
    arrived = [mount.target for mount in _mounts(mountinfo) if mount not in before]
    for target in reversed(arrived):  # the next one finds the host as it was
        linux.umount2(target, linux.Umount.DETACH)
    return (done, WRONG, "something is mounted on the host") if outcome == WORKS and arrived else (done, outcome, why)


def _mounts(mountinfo: TextIO) -> list[MountPoint]:
    mountinfo.seek(0)
    return parse_mountinfo(mountinfo.read())


def _build(order: list[Step]) -> tuple[int, str, str]:
    """Do the steps in this process, by the library's own rule: none of them before the unshare that keeps the host out of it."""
    apart: set[str] = set()
    for done, item in enumerate(order):
        if set(about(item.stage).needs) - apart:
            return done, BY_US, f"{item.name} would act on the whole machine"
        try:
            perform(item)
        except (StageError, KernelError) as error:
            return done, BY_KERNEL if isinstance(error, KernelError) else BY_US, str(error).splitlines()[0]
        apart.add(item.name.removeprefix("unshare_").replace("mount", "mnt"))
    wrong = _wrong_with_proc()
    return len(order), WRONG if wrong else WORKS, wrong


def _wrong_with_proc() -> str:
    """What a container's process list ought not to be, or ""."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    if not pids:
        return "/proc is empty inside"
    return "" if pids == [os.getpid()] == [1] else "/proc shows the host's processes inside"
