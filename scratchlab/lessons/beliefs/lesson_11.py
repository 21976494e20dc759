"""Control groups: what many believe, and experiments that refute it."""

from scratchlab import attacks, stages
from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.lessons.group import Group
from scratchlab.linux import cgroupfs
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step


def limit_stays_after_a_move() -> bool:
    """Start in a group with a limit, be moved to one without, and start processes."""
    with Group.make("other", "pids") as other, Sandbox("experiment") as box:
        box.play([step(stages.pids, 3)])
        cgroupfs.enter(other.path, box.pid)
        return not box.play([step(attacks.fork_bomb, 5)])[0]["value"]["got_out"]


def a_lower_limit_kills() -> bool:
    """Lower a group's limit below the number of its processes, and see who is left."""
    with Sandbox("experiment") as box:
        box.play([step(stages.pids, 10)])
        sleepers = [box.start("sleep", "1000") for _ in range(3)]
        cgroupfs.limit(cgroupfs.path_of("pids", box.name), "pids.max", "1")
        killed = any(sleeper.ended(0.05) for sleeper in sleepers)
        for sleeper in sleepers:
            sleeper.stop()
        return killed


def each_child_has_the_limit_anew() -> bool:
    """Start processes in a group with a limit, then let another one start as many as the limit says."""
    with Sandbox("experiment") as box:
        box.play([step(stages.pids, 8)])
        sleepers = [box.start("sleep", "1000") for _ in range(4)]
        found: bool = box.play([step(attacks.fork_bomb, 7)])[0]["value"]["got_out"]
        for sleeper in sleepers:
            sleeper.stop()
        return found


def limits_change_what_is_shown() -> bool:
    """Limit CPU and memory, and read the files that programs read, on both sides."""
    with Sandbox("experiment") as box:
        box.play([step(stages.memory, "48M"), step(stages.cpu, 0.2)])
        asked = (("grep", "-c", "^processor", "/proc/cpuinfo"), ("grep", "MemTotal", "/proc/meminfo"))
        return not all(box.both(*words).same for words in asked)


BELIEFS = {
    "limits-live-in-the-process": Belief(
        "A limit is a property of the process that was started with it.",
        "A process was started in a group with a limit. The host moves it to a group that has none. Is it limited?",
        {"yes, it was started so": True, "no, the limit stays with the group": False},
        limit_stays_after_a_move,
    ),
    "a-lower-limit-kills": Belief(
        "What is above a limit is killed.",
        "There are four processes in a group, and pids.max becomes 1. What happens to the others?",
        {"they are killed": True, "nothing: the next fork is refused": False},
        a_lower_limit_kills,
    ),
    "each-process-has-the-limit": Belief(
        "Each process of a container may use as much as the limit says.",
        "A group may hold 8 processes, and holds 5. Can one of them start 7 more?",
        {"yes, it has started none yet": True, "no, all of a group share one limit": False},
        each_child_has_the_limit_anew,
    ),
    "limits-change-free": Belief(
        "`free` and `top` tell a container what it may use.",
        "A box may use 48 MB and a fifth of one CPU. Do /proc/cpuinfo and /proc/meminfo say something else in there?",
        {"yes, they say the limit": True, "no, they say what the host says": False},
        limits_change_what_is_shown,
    ),
}  # fmt: skip
