"""Lesson 16, assemble, ablate, compare: which order, which wall for what, and the whole program."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scratchlab.lessons import orders
from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.outline import Outline
from scratchlab.rootfs import create
from scratchlab.stages import (
    STAGES,
    capabilities,
    hostname,
    pivot,
    private_mounts,
    proc,
    step,
    unshare_mount,
    unshare_pid,
    unshare_uts,
)

PIECES = ("capabilities", "hostname", "pivot", "private_mounts", "proc", "unshare_mount", "unshare_pid", "unshare_uts")


def assembled(answer: Answer) -> Facts:
    """Build what the answer lists, in its order, on a host to throw away."""
    names = [str(getattr(stage, "__name__", stage)) for stage in answer() or ()]
    missing, extra = (list((one - other).elements()) for one, other in _apart(names))
    if missing or extra:
        return {"missing": missing, "extra": extra}
    with TemporaryDirectory() as place:
        root = str(create(Path(place, "root"), "busybox"))
        given: dict[str, tuple[Any, ...]] = {"capabilities": ([],), "hostname": ("box",), "pivot": (root,)}
        built = orders.build([step(STAGES[name], *given.get(name, ())) for name in names])
    return {"missing": [], "extra": [], "outcome": built.outcome, "why": built.why, "at": names[min(built.done, len(names) - 1)]}


def _apart(names: list[str]) -> tuple[tuple[Counter[str], Counter[str]], ...]:
    given, listed = Counter(PIECES), Counter(names)
    return (given, listed), (listed, given)


def _stopped(facts: Facts, outcome: str) -> str:
    return f"at {facts['at']}: {facts['why']}" if facts["outcome"] == outcome else ""


def in_order() -> list[Any]:
    """Tables first, then what goes into them, then the powers that it took."""
    return [unshare_uts, hostname, unshare_mount, private_mounts, unshare_pid, pivot, proc, capabilities]


ORDER = Exercise(
    "in-order",
    answer="in_order",
    ask="""
    Write `in_order()`. It returns these eight stages as a list, in an order that works:
    capabilities, hostname, pivot, private_mounts, proc, unshare_mount, unshare_pid, unshare_uts.
    They are built with fitting arguments (capabilities keeps none), on a host to throw away.
    """,
    observe=assembled,
    claims=(
        Claim(
            "each of the eight is there, once",
            lambda facts: "; ".join(f"{word}: {', '.join(facts[word])}" for word in ("missing", "extra") if facts[word]),
            ("Which names stand in the question, and not in your list?", "A list of functions: [stages.unshare_uts, …]"),
        ),
        Claim(
            "no step would act on the host",
            lambda facts: _stopped(facts, orders.BY_US),
            (
                "Whose table would that step write into, at that moment?",
                "Each stage that changes a table comes after the unshare that gives the box one of its own.",
            ),
        ),
        Claim(
            "the kernel refuses none",
            lambda facts: _stopped(facts, orders.BY_KERNEL),
            (
                "EPERM or EINVAL? What does the box no longer have at this point, or what has it not cut yet?",
                "Powers go last. And no root moves while its mounts are shared with somebody.",
            ),
        ),
        Claim(
            "inside, /proc shows the box's own processes",
            lambda facts: _stopped(facts, orders.WRONG).partition(": ")[2],
            (
                "A mount shows the namespace that it was made in, and it is where it was mounted. Which of the two went wrong?",
                "After the numbers, and after the root.",
            ),
        ),
    ),
    solution=in_order,
)

OUTLINE = Outline("Assemble, ablate, compare", 45, points={"start": ()}, exercises=(ORDER,))
