"""Which orders of some steps work: each is built for real, in a sandbox on a host to throw away."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

from scratchlab.attacks import weaknesses
from scratchlab.errors import KernelError, ScratchlabError, StageError
from scratchlab.lessons.hosts import shared_host
from scratchlab.sandbox import Sandbox
from scratchlab.stages import Step, step
from scratchlab.stages.stage import namespaces_of, refuse_if_missing

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
    with shared_host() as host:
        return _built(steps, host)


def _built(steps: Sequence[Step], host: Sandbox) -> Built:
    names = tuple(item.name for item in steps)
    with Sandbox("order") as box:
        box.play([step(weaknesses.stand_on, f"/proc/{host.pid}/ns/mnt")])
        whose, before = namespaces_of(host.pid), _mounts_of(host)
        for done, item in enumerate(steps):
            try:
                refuse_if_missing(item.stage, box.pid, whose)
                box.play([item])
            except (StageError, KernelError) as error:
                outcome = BY_KERNEL if isinstance(error, KernelError) else BY_US
                return Built(names, done, outcome, str(error).splitlines()[0])
        wrong = wrong_with(box) or ("something is mounted on the host" if _mounts_of(host) != before else "")
        return Built(names, len(names), WRONG if wrong else WORKS, wrong)


def _mounts_of(host: Sandbox) -> str:
    return Path(f"/proc/{host.pid}/mountinfo").read_text()


def wrong_with(box: Sandbox) -> str:
    """What a container's process list ought not to be, or ""."""
    try:
        pids = box.run("ls", "/proc").out.split()
    except ScratchlabError as error:
        return str(error).splitlines()[0]
    own = [pid for pid in pids if pid.isdigit()]
    if not own:
        return "/proc is empty inside"
    return "" if len(own) <= 2 and "1" in own else "/proc shows the host's processes inside"


def every_order(steps: Sequence[Step]) -> Orders:
    """Build every order. One that begins like another that failed fails like that one, and is not built again."""
    failed: dict[tuple[str, ...], Built] = {}
    found = []
    with ExitStack() as stack:
        host = stack.enter_context(shared_host())
        clean = _mounts_of(host)
        for order in permutations(steps):
            names = tuple(item.name for item in order)
            known = next((failed[names[:end]] for end in range(1, len(names) + 1) if names[:end] in failed), None)
            one = known._replace(order=names) if known else _built(order, host)
            if not known and one.outcome in (BY_US, BY_KERNEL):
                failed[names[: one.done + 1]] = one
            if _mounts_of(host) != clean:
                host = stack.enter_context(shared_host())
                clean = _mounts_of(host)
            found.append(one)
    return Orders(tuple(found))
