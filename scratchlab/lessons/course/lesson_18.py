"""Lesson 18, not a VM: one kernel for all, a clock that can be moved and one that cannot, and a choice made by figures."""

from typing import Any, NamedTuple

from scratchlab import stages
from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.kinds import APART, DAY, Kinds, kinds
from scratchlab.lessons.outline import Outline
from scratchlab.stages import step


class Workload(NamedTuple):
    """What somebody wants to run."""

    says: str
    starts: int  # how many are started in a minute
    at_once: int  # how many run at the same time
    trusted: bool  # whether it may be trusted not to look for a bug of the kernel
    needs: tuple[str, ...] = ()  # what it must have for itself, by the facts' names


BUILDS = Workload("short jobs of your own, for each commit", 1000, 4, trusted=True)
SERVICES = Workload("small services of your own, many on one computer", 1, 40, trusted=True)
STRANGER = Workload("programs that strangers send you", 10, 20, trusted=False)
MODULE = Workload("the test of a kernel module", 1, 1, trusted=True, needs=("own_kernel",))
CALENDAR = Workload("a program's behaviour in the year 2038", 1, 1, trusted=True, needs=("own_date",))
UPTIME = Workload("a program's behaviour after 500 days of uptime", 1, 1, trusted=True, needs=("own_uptime",))

WORKLOADS = (BUILDS, SERVICES, STRANGER, MODULE, CALENDAR, UPTIME)
FACTS = ("start_ms", "memory_kb", "own_kernel", "own_date", "own_uptime")


def turned_around(facts: Kinds) -> Kinds:
    """Another world: machines start sooner and take less than containers, and a container may have a date of its own."""
    sooner = facts.machine._replace(start_ms=facts.container.start_ms / 2, memory_kb=facts.container.memory_kb // 2)
    return facts._replace(machine=sooner, container=facts.container._replace(own_date=True))


def deciding(answer: Answer) -> Facts:
    """Ask the answer about each workload: with the facts as they were measured, and with others."""
    facts = kinds()
    other = turned_around(facts)
    return {
        "chosen": {each.says: _pair(answer(each, facts)) for each in WORKLOADS},
        "elsewhere": {each.says: _pair(answer(each, other)) for each in WORKLOADS},
        "facts": facts,
    }


def _pair(said: Any) -> tuple[str, str]:
    """A choice and its reason, or two empty words."""
    if not isinstance(said, tuple) or len(said) != 2 or said[0] not in ("container", "machine") or said[1] not in FACTS:
        return "", ""
    return said[0], said[1]


def decide(workload: Workload, facts: Kinds) -> tuple[str, str]:
    """First what it cannot be without; of what is left, the one that costs less where this workload costs most."""
    needs = [*workload.needs, *([] if workload.trusted else ["own_kernel"])]
    for need in needs:
        if not getattr(facts.container, need):
            return "machine", need
    cost = "start_ms" if workload.starts > workload.at_once else "memory_kb"
    cheaper = "machine" if facts.machine.better(cost, facts.container) else "container"
    return cheaper, cost


def _unanswered(facts: Facts) -> str:
    missing = [says for says, said in facts["chosen"].items() if not said[0]]
    return f"for {missing[0]!r} it returned no such pair" if missing else ""


def _unsupported(facts: Facts) -> str:
    found: Kinds = facts["facts"]
    for says, (choice, reason) in facts["chosen"].items():
        chosen, other = (found.container, found.machine) if choice == "container" else (found.machine, found.container)
        if not chosen.better(reason, other):
            return f"{says}: in {reason}, a {choice} is not better than the other"
    return ""


def _chosen(choice: str, *workloads: Workload) -> Any:
    def wrong(facts: Facts) -> str:
        other = [each.says for each in workloads if facts["chosen"][each.says][0] != choice]
        return f"{other[0]}: you chose a {facts['chosen'][other[0]][0]}" if other else ""

    return wrong


def _the_same_elsewhere(facts: Facts) -> str:
    same = [each.says for each in (BUILDS, SERVICES, CALENDAR) if facts["elsewhere"][each.says] == facts["chosen"][each.says]]
    return f"in a world where machines are cheaper and a container has its own date: {same[0]}, the same answer" if same else ""


CHOICE = Exercise(
    "container-or-machine",
    answer="decide",
    ask="""
    Write `decide(workload, facts)`. It returns what to run a workload in, "container" or "machine", and the fact that
    speaks for it, by name: ("machine", "own_kernel"). A workload has `says`, `starts` (in a minute), `at_once`, `trusted`
    and `needs` (facts by name). `facts.container` and `facts.machine` are what was measured: start_ms, memory_kb,
    own_kernel, own_date, own_uptime. All else being equal, take what costs less. There are six workloads.
    """,
    observe=deciding,
    claims=(
        Claim(
            "it gives a choice and a fact for each of the six",
            _unanswered,
            (
                "What does your function return? Print decide(WORKLOADS[0], kinds()).",
                "A pair of two words, of those that the task names.",
            ),
        ),
        Claim(
            "the fact speaks for the choice: there it is better than the other",
            _unsupported,
            (
                "Print kinds(). In which rows does your choice do better, and in which do both have the same?",
                "kind.better(fact, other) says whether one fact speaks for it.",
            ),
        ),
        Claim(
            "what a container cannot have for itself gets a machine",
            _chosen("machine", MODULE, CALENDAR),
            ("Which of its needs has a container, and which not? Print kinds().", "getattr(facts.container, need)"),
        ),
        Claim(
            "what nobody trusts gets a kernel of its own",
            _chosen("machine", STRANGER),
            ("Whose kernel answers a stranger's system calls, in each of the two?", "Look at workload.trusted before the costs."),
        ),
        Claim(
            "all others go where they cost less",
            _chosen("container", BUILDS, SERVICES, UPTIME),
            (
                "Does it need what it gets? Look at workload.starts and workload.at_once.",
                "A time namespace has an uptime of its own: it is no reason for a machine.",
            ),
        ),
        Claim(
            "with other facts, it decides otherwise",
            _the_same_elsewhere,
            (
                "Would your function notice a machine that starts in a millisecond? Look where it uses `facts`.",
                "Compare facts.machine with facts.container, and do not name the winner.",
            ),
        ),
    ),
    solution=decide,
)

OUTLINE = Outline(
    "Not a VM",
    35,
    points={"start": (), "apart": APART, "another uptime": (*APART, step(stages.unshare_time, boottime=DAY))},
    exercises=(CHOICE,),
)
