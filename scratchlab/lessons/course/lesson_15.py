"""Lesson 15, /proc and /sys are APIs: files that steer the kernel, and how to keep them from being written and read."""

import os
from typing import Any

from scratchlab import linux, stages
from scratchlab.errors.facts import text
from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.experiments import let
from scratchlab.lessons.outline import Outline
from scratchlab.linux import At, Mount, MountAttr
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step

# A /proc and a /sys of its own: what is done to these as a whole, such as a remount, is not done to the host's.
APART = tuple(
    step(stage)
    for stage in (
        stages.unshare_mount, stages.private_mounts, stages.unshare_uts, stages.unshare_net, stages.unshare_pid, stages.proc,
        stages.sysfs,
    )
)  # fmt: skip
SWITCH = "/proc/sys/kernel/core_pattern"


def covered(answer: Answer) -> Facts:
    """Let the answer cover what it should in a box, and look at what can be read and written there."""

    def act() -> None:
        answer()

    with Sandbox("exercise") as box:
        box.play(APART)
        let(box, act)
        facts: dict[str, Any] = box.play([step(seen)])[0]["value"]
        return facts


def seen() -> dict[str, Any]:
    """What of /proc and /sys can be read and written here. A look: nothing is opened for writing."""
    return {
        "writable": os.access(SWITCH, os.W_OK),
        "readable": os.access(SWITCH, os.R_OK),
        "keys": bool(text("/proc/keys")),
        "firmware": os.listdir("/sys/firmware"),
        "own": os.access("/proc/self/comm", os.W_OK) and bool(text("/proc/self/status")),
    }


def cover() -> None:
    """Switches that can be read only; a file that reads as empty, and a directory without entries."""
    linux.mount("/proc/sys", "/proc/sys", None, Mount.BIND)
    linux.mount_setattr("/proc/sys", At(0), MountAttr.RDONLY)
    linux.mount("/dev/null", "/proc/keys", None, Mount.BIND)
    linux.mount("tmpfs", "/sys/firmware", "tmpfs", Mount.RDONLY)


COVER = Exercise(
    "cover",
    answer="cover",
    ask="""
    Write `cover()`. It runs in a box that has a mount table, a /proc and a /sys of its own. Afterwards, no switch in
    /proc/sys can be written to, and all of them can still be read; /proc/keys reads as empty, and /sys/firmware has no
    entries; and the rest of /proc is as it was.
    """,
    observe=covered,
    claims=(
        Claim(
            "no switch can be written to",
            lambda facts: f"{SWITCH} can be opened for writing" if facts["writable"] else "",
            (
                "Which flag did mount(2) take without a word, and not set? Look at the box's mounts.",
                "First a bind mount of /proc/sys on itself; then, in a second call, make that mount read-only.",
            ),
        ),
        Claim(
            "each switch can be read",
            lambda facts: "" if facts["readable"] else f"{SWITCH} cannot be read any more, and programs read such files",
            ("What is below your mount: the switches, or nothing?", "Bind /proc/sys on itself, not something else over it."),
        ),
        Claim(
            "/proc/keys reads as empty",
            lambda facts: "/proc/keys has lines" if facts["keys"] else "",
            ("Which file is always empty to a reader?", "A file can be mounted on a file: /dev/null."),
        ),
        Claim(
            "/sys/firmware has no entries",
            lambda facts: f"/sys/firmware lists {', '.join(sorted(facts['firmware']))}" if facts["firmware"] else "",
            ("/dev/null is a file, and here is a directory. What is an empty directory that one can mount?", "A tmpfs is."),
        ),
        Claim(
            "the rest of /proc is as it was",
            lambda facts: "" if facts["own"] else "a process cannot write to /proc/self/comm, or cannot read its own status",
            ("What is in the way of /proc/self now? Look at how much you have covered, or made read-only.",),
        ),
    ),
    solution=cover,
)

OUTLINE = Outline(
    "/proc and /sys are APIs",
    35,
    points={
        "apart": APART,
        "a read-only root": (*APART, step(stages.readonly, "/")),
        "no switches": (*APART, step(stages.readonly, "/proc/sys")),
        "covered": (*APART, step(stages.readonly), step(stages.mask)),
    },
    exercises=(COVER,),
)
