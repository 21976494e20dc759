"""Lesson 11, how much: control groups, and what it takes that a limit holds."""

from pathlib import Path

from scratchlab import linux, stages
from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.experiments import let
from scratchlab.lessons.group import Group
from scratchlab.lessons.outline import Outline
from scratchlab.linux import cgroupfs
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step

MOST = 6
# A family of four: a shell, two children, and a child of one of them.
FAMILY = "sh -c 'sleep 1000 & wait' & sleep 1000 & wait"


def fenced(answer: Answer) -> Facts:
    """Let the answer fence in a program that has children already, and see who is in the group then."""
    with Group.make("exercise", "pids") as group, Sandbox("exercise") as box, Sandbox("learner") as learner:
        program = box.start("sh", "-c", FAMILY)
        family = family_of(program.pid)
        while len(family) < 4:
            family = family_of(program.pid)

        place, pid = group.path, program.pid

        # In a process of its own: one that moves itself must not take the notebook with it.
        def act() -> None:
            answer(place, pid, MOST)

        let(learner, act)
        inside = set(cgroupfs.procs(group.path))
        facts = {
            "limit": Path(group.path, "pids.max").read_text().strip(),
            "program": program.pid in inside,
            "outside": len(set(family[1:]) - inside),
            "strangers": sorted(inside - set(family)),
        }
        program.stop()
        return facts


def family_of(pid: int) -> list[int]:
    """A process, its children, and theirs.  proc_pid_task(5)"""
    family = [pid]
    for member in family:
        text = Path(f"/proc/{member}/task/{member}/children")
        family += map(int, text.read_text().split() if text.exists() else [])
    return family


def fence(group: str, pid: int, most: int) -> None:
    """The limit first, then the program, then its children: each parent before its children, so that none is born outside."""
    linux.write_file(f"{group}/pids.max", str(most))
    family = [pid]
    for member in family:
        linux.write_file(f"{group}/cgroup.procs", str(member))
        with open(f"/proc/{member}/task/{member}/children") as children:
            family += map(int, children.read().split())


FENCE = Exercise(
    "fence",
    answer="fence",
    ask=f"""
    Write `fence(group, pid, most)`. `group` is the path of an empty control group with the pids controller, `pid` a program
    that has run for a while and has started others. Afterwards, the program and all that it has started are in the group,
    nobody else is, and the group may hold at most `most` processes. (It is called with {MOST}.)
    """,
    observe=fenced,
    claims=(
        Claim(
            "the group has the limit",
            lambda facts: "" if facts["limit"] == str(MOST) else f"pids.max says {facts['limit']}",
            ("Which file of the group says how many processes it may hold?", 'linux.write_file(f"{group}/…", str(most))'),
        ),
        Claim(
            "the program is in the group",
            lambda facts: "" if facts["program"] else "the limit is written, and holds for nobody: the program is elsewhere",
            ("Which file says who is in a group, and what happens to a pid that you write into it?", "cgroup.procs"),
        ),
        Claim(
            "so is all that it had started before",
            lambda facts: (
                f"{facts['outside']} of its children and their children are where they were: who is born later "
                "is born in the group, but who was there before must be moved"
                if facts["outside"]
                else ""
            ),
            (
                "Does a move take the children along? Look at cgroup.procs after it.",
                "/proc/PID/task/PID/children has the children of a process with one thread. Do they have children, too?",
            ),
        ),
        Claim(
            "nobody else is",
            lambda facts: (
                f"{len(facts['strangers'])} more in the group than the program has started" if facts["strangers"] else ""
            ),
            ("Whom have you moved, besides the family? Print the pids before you write them.",),
        ),
    ),
    solution=fence,
)

APART = tuple(
    step(stage) for stage in (stages.unshare_mount, stages.private_mounts, stages.unshare_uts, stages.unshare_pid, stages.proc)
)

OUTLINE = Outline(
    "How much: cgroups",
    40,
    points={
        "apart": APART,
        "counted": (*APART, step(stages.pids, 20)),
        # The CPU last, because what comes after it is slow; and so little that a busy machine, too, has more to give.
        "three limits": (*APART, step(stages.pids, 40), step(stages.memory, "48M"), step(stages.cpu, 0.05)),
    },
    exercises=(FENCE,),
)
