"""Lesson 0, this machine: every process is in one namespace of each kind already."""

from scratchlab import stages
from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.outline import Outline
from scratchlab.linux import NAMESPACES
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step


def namespaces_apart(answer: Answer) -> Facts:
    """Give the answer a fresh sandbox. Which of the host's namespaces has it left, and who is called what?"""
    # A learner who works by hand may rename the wrong side. So the sandbox begins in the UTS namespace of a host to throw away.
    with Sandbox("host") as host, Sandbox("exercise") as box:
        host.play([step(stages.unshare_uts)])
        box.play([step(stages.join, host.pid, "uts")])
        before = host.snapshot().hostname
        answer(box)
        after, inside = host.snapshot(), box.snapshot()
    apart = [kind for kind in NAMESPACES if inside.namespaces[kind] != after.namespaces[kind]]
    return {"apart": apart, "hostname": inside.hostname, "host": after.hostname, "before": before}


def _too_many(facts: Facts) -> str:
    many = facts["apart"]
    return f"it has left {len(many)} of the host's namespaces: {', '.join(many)}" if len(many) > 1 else ""


def rename(box: Sandbox) -> None:
    """A table of its own for the name, then the name."""
    box.apply(stages.unshare_uts)
    box.apply(stages.hostname, "alone")


RENAME = Exercise(
    "rename",
    answer="rename",
    ask="""
    Write `rename(box)`. It gets a fresh sandbox and calls it *alone*: inside, the hostname is `alone`.
    The host keeps its name, and all the namespaces that the sandbox does not need for this stay shared.
    """,
    observe=namespaces_apart,
    claims=(
        Claim(
            "the sandbox has left a namespace of the host",
            lambda facts: "" if facts["apart"] else "it is in all the host's namespaces still",
            (
                "What keeps the two from having different names?",
                "Which kind of namespace holds the hostname? Look at the table above.",
            ),
        ),
        Claim(
            "the namespace that it has left is the one with the hostname",
            lambda facts: (
                "" if "uts" in facts["apart"] else f"it has left the {facts['apart'][0]} namespace, and the name is elsewhere"
            ),
            ("uts_namespaces(7) has the words for what is in one.", "Its stage is called like the kind: stages.unshare_…"),
        ),
        Claim(
            "it has left no other",
            _too_many,
            ("What would break if you shared that one with the host?", "Take a stage away, and check again."),
        ),
        Claim(
            "the host keeps its name",
            lambda facts: "" if facts["host"] == facts["before"] else f"the host is called {facts['host']} now",
            (
                "In whose table was the sandbox when it took the name?",
                "A table of its own comes first, then the name.",
            ),
        ),
        Claim(
            "inside, the hostname is alone",
            lambda facts: (
                ""
                if facts["hostname"] == "alone"
                else f"inside, the hostname is {'as on the host' if facts['hostname'] == facts['host'] else facts['hostname']}"
            ),
            (
                "A new UTS namespace is a copy. Of what?",
                "A second stage changes the copy: look at dir(stages) for a word like sethostname(2).",
            ),
        ),
    ),
    solution=rename,
)

OUTLINE = Outline(
    "This machine",
    25,
    points={"a UTS namespace": (step(stages.unshare_uts),)},
    exercises=(RENAME,),
)
