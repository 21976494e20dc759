"""Containers and machines: what many believe, and experiments that refute it."""

import time

from scratchlab import stages
from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.lessons.kinds import APART, BOOT_ID, DAY
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step


def kernel_of_a_container() -> str:
    """Ask for the number that a kernel draws when it starts, inside and on the host."""
    with Sandbox("experiment") as box:
        box.play(APART)
        return "the host's" if box.both("cat", BOOT_ID).same else "its own"


def date_a_day_ahead() -> str:
    """Put all clocks that a time namespace has a day ahead, and ask for the date."""
    with Sandbox("experiment") as box:
        box.play([step(stages.unshare_time, monotonic=DAY, boottime=DAY)])
        ahead = int(box.run("date", "+%s").out) - time.time()
        return "tomorrow" if ahead > DAY / 2 else "today"


def memory_of_a_container() -> str:
    """Ask how much memory there is, inside every namespace that an engine makes, and on the host."""

    def total(text: str) -> str:
        return next(line for line in text.splitlines() if line.startswith("MemTotal"))

    with Sandbox("experiment") as box:
        box.play(APART)
        seen = box.both("cat", "/proc/meminfo")
        return "the host's" if total(seen.inside.out) == total(seen.host.out) else "its own"


BELIEFS = {
    "a-container-has-a-kernel": Belief(
        "A container with another distribution runs another kernel.",
        "A box has the six new namespaces that an engine makes. Whose kernel answers in there?",
        {"its own, a small one": "its own", "the host's": "the host's"},
        kernel_of_a_container,
    ),
    "a-time-namespace-has-a-date": Belief(
        "A time namespace can be in another year.",
        "All clocks of a time namespace are a day ahead. Which day does `date` say in there?",
        {"tomorrow": "tomorrow", "today": "today"},
        date_a_day_ahead,
    ),
    "a-container-has-memory": Belief(
        "A container has memory of its own, as a machine has.",
        "A box has the six new namespaces that an engine makes, and a new /proc. Whose memory does /proc/meminfo tell of?",
        {"its own": "its own", "the host's": "the host's"},
        memory_of_a_container,
    ),
}  # fmt: skip
