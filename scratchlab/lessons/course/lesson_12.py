"""Lesson 12, reading pressure: what a limit feels like from inside, and from which numbers one can tell."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from scratchlab import linux, stages
from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.experiments import let
from scratchlab.lessons.group import Group
from scratchlab.lessons.outline import Outline
from scratchlab.linux import cgroupfs
from scratchlab.sandbox import Sandbox
from scratchlab.sandbox.running import Running
from scratchlab.stages import step

SECONDS = 0.5  # both tenants want the CPU for so long
TIMES = 3


def neighbours(answer: Answer) -> Facts:
    """Let the answer set up two groups, and let both want every CPU: who gets how much?"""
    with ExitStack() as stack:
        quiet, noisy = (stack.enter_context(Group.make(name, "cpu")).path for name in ("quiet", "noisy"))
        learner = stack.enter_context(Sandbox("learner"))

        def act() -> None:
            answer(quiet, noisy)

        let(learner, act)
        loops = [stack.enter_context(busy(group)) for group in (quiet, noisy)]
        before = [ran(loop) for loop in loops]
        time.sleep(SECONDS)
        got = [ran(loop) - start for loop, start in zip(loops, before, strict=True)]
        ceilings = {name: cgroupfs.show(path, "cpu.max").split()[0] for name, path in (("quiet", quiet), ("noisy", noisy))}
        return {"times": got[0] / max(got[1], 1), "ceilings": ceilings}


@contextmanager
def busy(group: str) -> Iterator[list[Running]]:
    """A busy loop on each CPU, all in one group: so every CPU must be divided."""
    with Sandbox("tenant") as box:
        cpus = sorted(os.sched_getaffinity(0))
        loops = [box.start("taskset", "-c", str(cpu), "sh", "-c", "while :; do :; done") for cpu in cpus]
        for loop in loops:  # these alone: who starts and ends them has all the time that it needs
            cgroupfs.enter(group, loop.pid)
        yield loops
        for loop in loops:
            loop.stop()


def ran(loops: list[Running]) -> int:
    """Nanoseconds that these had a CPU.  proc_pid_schedstat(5)"""
    return sum(int(Path(f"/proc/{loop.pid}/schedstat").read_text().split()[0]) for loop in loops)


def favour(quiet: str, noisy: str) -> None:
    """No ceiling for anybody; a tenth of the weight for the one that can wait."""
    linux.cgroupfs.limit(quiet, "cpu.weight", "100")
    linux.cgroupfs.limit(noisy, "cpu.weight", "10")


FAVOUR = Exercise(
    "favour",
    answer="favour",
    ask=f"""
    Write `favour(quiet, noisy)`. Both are paths of control groups with the cpu controller. When both want every CPU, the quiet
    one gets at least {TIMES} times as much as the noisy one. And when the quiet one sleeps, the noisy one may have everything: no
    CPU stands idle while somebody wants it. `linux.cgroupfs.limit(group, file, text)` takes version 2's names on any machine.
    """,
    observe=neighbours,
    claims=(
        Claim(
            f"when both want it, the quiet one gets {TIMES} times as much",
            lambda facts: "" if facts["times"] >= TIMES else "both wanted every CPU, and the quiet one got too little of them",
            (
                "Which file says how a CPU is divided, and not how much there may be at most?",
                "cpu.weight is 100 unless somebody says otherwise; what counts is how two weights compare.",
            ),
        ),
        Claim(
            "the noisy one has no ceiling",
            lambda facts: (
                ""
                if facts["ceilings"]["noisy"] == "max"
                else "at night, the quiet one sleeps, and the noisy one still may not have what nobody wants"
            ),
            (
                "What does cpu.max do while nobody else wants the CPU? Look at the group's throttled periods.",
                'Take the ceiling away: "max" is what cpu.max says of a group that has none.',
            ),
        ),
        Claim(
            "nor has the quiet one",
            lambda facts: "" if facts["ceilings"]["quiet"] == "max" else "the quiet one is held back by a cpu.max of its own",
            ("Whom does a ceiling of the quiet one help? Read what is in its cpu.max.",),
        ),
    ),
    solution=favour,
)

OUTLINE = Outline(
    "Reading pressure",
    40,
    points={
        "start": (),
        "a twentieth of a CPU": (step(stages.memory, "48M"), step(stages.cpu, 0.05)),
        "a fifth of a CPU": (step(stages.memory, "48M"), step(stages.cpu, 0.2)),
        "little memory": (
            step(stages.unshare_mount),
            step(stages.private_mounts),
            step(stages.memory, "48M"),
        ),
    },
    exercises=(FAVOUR,),
)
