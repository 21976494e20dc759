"""This machine: what many believe, and experiments that refute it."""

import os
from typing import Any

from scratchlab import linux, stages
from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.observe import Snapshot
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step


def namespaces_without_a_container() -> Any:
    """Look at this very process."""
    kinds = {name for name in os.listdir("/proc/self/ns") if not name.endswith("_for_children")}
    return "all" if kinds == set(linux.NAMESPACES) else len(kinds)


def other_namespaces_after_one() -> int:
    """Unshare one, count the others."""
    with Sandbox("experiment") as box:
        box.apply(stages.unshare_uts)
        mine, theirs = Snapshot.of(os.getpid()).namespaces, box.snapshot().namespaces
        return sum(theirs[kind] != mine[kind] for kind in linux.NAMESPACES if kind != "uts")


def host_is_renamed() -> bool:
    """Set a hostname in a namespace of its own, and ask the host."""
    with Sandbox("experiment") as box:
        box.play([step(stages.unshare_uts), step(stages.hostname, "refuted")])
        return os.uname().nodename == "refuted"


BELIEFS = {
    "namespaces-come-with-docker": Belief(
        "Namespaces appear when a container is started.",
        "How many kinds of namespaces is a process in, on a machine without any container?",
        {"none": 0, "only a network": 1, "one of each kind": "all"},
        namespaces_without_a_container,
    ),
    "unshare-gives-everything": Belief(
        "A new namespace makes a process a container.",
        "A process unshares its UTS namespace. How many of its other namespaces are new?",
        {"all of them": 7, "none": 0},
        other_namespaces_after_one,
    ),
    "a-hostname-is-the-machines": Belief(
        "Root can only rename the whole machine.",
        "A process with a UTS namespace of its own sets its hostname. What does the host call itself now?",
        {"the new name": True, "what it was called before": False},
        host_is_renamed,
    ),
}  # fmt: skip
