"""Lesson 9, a private network: links, addresses and routes of one's own, and the cable that leads out."""

from pathlib import Path
from typing import Any

from scratchlab import linux, stages
from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.network import FORWARDING, ask, cable, has_way_to, listen, plug_in
from scratchlab.lessons.outline import Outline
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step

LEFT, MIDDLE_LEFT, MIDDLE_RIGHT, RIGHT = "198.51.100.1", "198.51.100.2", "203.0.113.2", "203.0.113.1"


def no_forwarding() -> None:
    """A new network takes this switch over from the host's, where somebody may have set it."""
    linux.write_file(FORWARDING, "0")


def forwards() -> bool:
    """Whether this network passes on what is not for itself."""
    return Path(FORWARDING).read_text().strip() == "1"


def three_in_a_row(answer: Answer) -> Facts:
    """Three sandboxes, each with an empty network of its own. What reaches what, once the answer has wired them?"""
    with Sandbox("left") as left, Sandbox("middle") as middle, Sandbox("right") as right:
        for box in (left, middle, right):
            box.play([step(stages.unshare_net), step(stages.loopback), step(no_forwarding), step(listen, 80)])
        answer(left, middle, right)

        def told(box: Sandbox, act: Any, *args: Any) -> Any:
            return box.play([step(act, *args)])[0]["value"]

        return {
            "middle": told(left, ask, MIDDLE_LEFT, 80),
            "other middle": told(right, ask, MIDDLE_RIGHT, 80),
            "way": told(left, has_way_to, RIGHT),
            "forwards": told(middle, forwards),
            "way back": told(right, has_way_to, LEFT),
            "right": told(left, ask, RIGHT, 80),
        }


def wire(left: Sandbox, middle: Sandbox, right: Sandbox) -> None:
    """Two cables, four addresses, a middle that forwards, and a way there and back."""
    middle.apply(cable, "to-left", "eth0", left.pid)
    middle.apply(cable, "to-right", "eth0", right.pid)
    middle.apply(plug_in, "to-left", "198.51.100.2/24")
    middle.apply(plug_in, "to-right", "203.0.113.2/24")
    middle.apply(linux.write_file, "/proc/sys/net/ipv4/ip_forward", "1")
    left.apply(plug_in, "eth0", "198.51.100.1/24")
    left.apply(stages.route, "198.51.100.2")
    right.apply(plug_in, "eth0", "203.0.113.1/24")
    right.apply(stages.route, "203.0.113.2")


def _unless(reached: bool, seen: str) -> str:
    return "" if reached else seen


WIRE = Exercise(
    "three-in-a-row",
    answer="wire",
    ask="""
    Write `wire(left, middle, right)`. Each of the three sandboxes has an empty network of its own. Afterwards left and
    right, which have no cable between them, talk to each other through middle:

        left 198.51.100.1 ── 198.51.100.2 middle 203.0.113.2 ── 203.0.113.1 right         every subnet is a /24
    """,
    observe=three_in_a_row,
    claims=(
        Claim(
            "left reaches middle, at 198.51.100.2",
            lambda facts: _unless(
                facts["middle"] == LEFT, f"left asks a server of middle at {MIDDLE_LEFT}, and gets: {facts['middle']}"
            ),
            (
                "Which of these is missing: a cable, an end that is up, an address? End wire with print(views.wiring(left)).",
                "Both ends of a cable want to be switched on, each in its own network.",
                "cable(near, far, pid) is applied to the sandbox that has the near end; pid is the other sandbox's.",
            ),
        ),
        Claim(
            "right reaches middle, at 203.0.113.2",
            lambda facts: _unless(
                facts["other middle"] == RIGHT,
                f"right asks a server of middle at {MIDDLE_RIGHT}, and gets: {facts['other middle']}",
            ),
            (
                "How many cables does middle have? End wire with print(views.wiring(middle)).",
                "The second cable is like the first, but with another name at middle's end: two links cannot share one.",
            ),
        ),
        Claim(
            "left knows a way to right",
            lambda facts: _unless(facts["way"], f"left has no route to {RIGHT}: the kernel would say ENETUNREACH"),
            (
                "Which subnets has left a route to, without being told? End wire with print(left.snapshot().routes).",
                "What is neither here nor next door goes to a neighbour that knows more: stages.route.",
            ),
        ),
        Claim(
            "middle passes on what is not for itself",
            lambda facts: _unless(facts["forwards"], "middle gets the packet, sees that it is for somebody else, and drops it"),
            (
                "Is a machine with two cables a router? ip(7) and ip-sysctl have the words for it.",
                "It is a file below /proc/sys/net/ipv4, and each network has its own.",
            ),
        ),
        Claim(
            "right knows a way back",
            lambda facts: _unless(facts["way back"], f"the question arrives, but right has no route to {LEFT} for its answer"),
            (
                "A conversation has two directions. Who needs to know the way for the second?",
                "Right's neighbour is middle, at the end of right's own cable.",
            ),
        ),
        Claim(
            "left gets an answer from right, which sees left's own address",
            lambda facts: _unless(facts["right"] == LEFT, f"left asks right, and gets: {facts['right']}"),
            ('What does the packet filter of middle do? End wire with print(middle.run("nft", "list", "ruleset").out).',),
        ),
    ),
    solution=wire,
)

OUTLINE = Outline(
    "A private network",
    40,
    points={"start": (), "a network": (step(stages.unshare_net), step(stages.loopback))},
    exercises=(WIRE,),
)
