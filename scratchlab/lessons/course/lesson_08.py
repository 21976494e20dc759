"""Lesson 8, root that is not root: what an id means depends on who looks."""

import os
from collections.abc import Callable
from typing import Any

from scratchlab import linux, stages
from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.experiments import let
from scratchlab.lessons.outline import Outline
from scratchlab.observe import Snapshot
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step

USER = 1000  # an ordinary user's id; nobody need have it on this machine


def rising(answer: Answer) -> Facts:
    """Let the answer act as an ordinary user. Who is it afterwards, inside and outside, and what may it do?"""

    # One step, and not several: an ordinary user may not be able to read what Python would have to import for the next.
    def act() -> dict[str, Any]:
        stages.user(USER)
        said = _refusal(answer)
        return {"said": said, "uid": os.geteuid(), "gid": os.getegid(), "hostname": _refusal(_rename_oneself)}

    with Sandbox("exercise") as box:
        facts: dict[str, Any] = let(box, act)
        apart = box.snapshot().namespaces["user"] != Snapshot.of(os.getpid()).namespaces["user"]
        return facts | {"apart": apart}


def _rename_oneself() -> None:
    """Something that wants a power of root, over something of one's own."""
    linux.unshare(linux.Clone.NEWUTS)
    linux.sethostname("mine")


def _refusal(act: Callable[[], Any]) -> str:
    try:
        act()
        return ""
    except OSError as error:
        return str(error).splitlines()[0]


def become_root() -> None:
    """A user namespace, then a map of one id for users, and one for groups: which needs a promise first."""
    uid, gid = os.geteuid(), os.getegid()
    linux.unshare(linux.Clone.NEWUSER)
    linux.write_file("/proc/self/setgroups", "deny")
    linux.write_file("/proc/self/uid_map", f"0 {uid} 1\n")
    linux.write_file("/proc/self/gid_map", f"0 {gid} 1\n")


def _seen(what: str, facts: Facts) -> str:
    return f"{what}. The kernel said: {facts['said']}" if facts["said"] else what


BECOME_ROOT = Exercise(
    "become-root",
    answer="become_root",
    ask="""
    Write `become_root()`. It runs inside, as the ordinary user 1000 with no power at all, and nobody outside helps.
    Afterwards the process is user 0 and group 0 in a user namespace of its own, and may do there what root may do.
    """,
    observe=rising,
    claims=(
        Claim(
            "it is in a user namespace of its own",
            lambda facts: "" if facts["apart"] else _seen("it is in the host's user namespace still", facts),
            (
                "Of all kinds of namespaces, which one may an ordinary user make? Look at how this lesson's box was made.",
                "linux.unshare takes the flag that user_namespaces(7) names.",
            ),
        ),
        Claim(
            "inside, its user id is 0",
            lambda facts: "" if facts["uid"] == 0 else _seen(f"inside, its user id is {facts['uid']}", facts),
            (
                "What does 65534 tell you about the map? Print /proc/self/uid_map.",
                "Who writes the map here, with which power? An ordinary user may write one line, of one id.",
                "First id inside, first id outside, how many: which of its own ids can it put in the middle?",
            ),
        ),
        Claim(
            "and its group id is 0",
            lambda facts: "" if facts["gid"] == 0 else _seen(f"inside, its group id is {facts['gid']}", facts),
            (
                "There are two maps. What does the kernel say to the second? Read user_namespaces(7), where it says setgroups.",
                "A user who could drop a group might open what was closed to that group. So promise first that nobody will.",
                "The promise is a word that is written to /proc/self/setgroups.",
            ),
        ),
        Claim(
            "it may do what root may do, to what is its own",
            lambda facts: f"it cannot set a hostname of its own: {facts['hostname']}" if facts["hostname"] else "",
            ("Print linux.capget(). Who took its powers away after the namespace gave them?",),
        ),
    ),
    solution=become_root,
)

_MAPPED = (step(stages.unshare_user), step(stages.map_ids, 0, 100000, 65536), step(stages.user, 0))

OUTLINE = Outline(
    "Root that is not root: user namespaces",
    40,
    points={"start": (), "no map": _MAPPED[:1], "mapped": _MAPPED},
    exercises=(BECOME_ROOT,),
)
