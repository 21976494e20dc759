"""Lesson 17, pods, exec and sidecars: what it takes to come in, and what to share."""

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scratchlab import linux, stages
from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.experiments import inside
from scratchlab.lessons.outline import Outline
from scratchlab.lessons.watching import ended, failure, let_run, lines_of
from scratchlab.rootfs import create
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step

ALONE = tuple(step(stage) for stage in (stages.unshare_uts, stages.unshare_ipc, stages.unshare_net, stages.loopback))
OWN_FILES = (step(stages.unshare_mount), step(stages.private_mounts))
FILES_AND_NUMBERS = (*OWN_FILES, step(stages.unshare_pid), step(stages.proc))

# What a command that came in says of itself; the file is in the root that it should have come to.
PROBE = """
echo started=yes
echo files=$(cat /visited 2>/dev/null)
echo process=$(test -d /proc/$$ && echo listed)
for kind in mnt pid uts ipc net; do echo $kind=$(readlink /proc/$$/ns/$kind); done
echo powers=$(grep CapEff /proc/$$/status)
exit 5
"""


def visiting(answer: Answer) -> Facts:
    """What a command says that the answer brings into a container, beside what one says that was started there."""
    with TemporaryDirectory() as place, Sandbox("visited") as box:
        root = create(Path(place, "root"), "busybox")
        (root / "visited").write_text("yes")
        box.play([*ALONE, *OWN_FILES, step(stages.unshare_pid), step(stages.pivot, str(root)), step(stages.proc)])
        box.play([step(stages.hostname, "visited"), step(stages.capabilities, [])])
        expected = _said(box.run("/bin/sh", "-c", PROBE).lines)
        pid = box.pid

        def act() -> dict[str, Any]:
            reader, writer = os.pipe()
            visitor = let_run(lambda: answer(pid, "sh", "-c", PROBE), writer)
            os.close(writer)
            return {"lines": lines_of(reader, until=""), "status": ended(visitor)}

        seen = inside(act)
    lines = seen["lines"]
    return {"said": _said(lines), "expected": expected, "status": seen["status"], "failed": failure(lines)}


def _said(lines: list[str]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _other(facts: Facts, *keys: str) -> list[str]:
    """In what the command differs from one that was started in the container."""
    said: Mapping[str, str] = facts["said"]
    return [key for key in keys if said.get(key) != facts["expected"][key]]


def enter(pid: int, *command: str) -> int:
    """All tables at once; then a child, born into the numbers; then as weak as the others there."""
    flags = linux.Clone.NEWNS | linux.Clone.NEWPID | linux.Clone.NEWUTS | linux.Clone.NEWIPC | linux.Clone.NEWNET
    linux.setns(linux.pidfd_open(pid), flags)
    child = os.fork()
    if child == 0:
        stages.capabilities([])
        os.execvp(command[0], command)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


ENTER = Exercise(
    "enter",
    answer="enter",
    ask="""
    Write `enter(pid, *command)`. It runs the command in the container whose process 1 the host calls `pid`, as if it had been
    started in there: with its files, its numbers, its name and network, and with no more powers than it has, which is none.
    It returns the command's status. Use `linux.pidfd_open`, `linux.setns`, `os.fork`, and `stages.capabilities`.
    """,
    observe=visiting,
    claims=(
        Claim(
            "the command runs",
            lambda facts: "" if facts["said"].get("started") else facts["failed"] or "the command never said a word",
            (
                "Who executes the command in your function?",
                "os.fork, and os.execvp in the child.",
            ),
        ),
        Claim(
            "it sees the container's files",
            lambda facts: "" if facts["said"].get("files") else "it sees the host's files",
            ("Which table leads to the files?", "linux.setns(pidfd, linux.Clone.NEWNS), before the command is executed."),
        ),
        Claim(
            "it is in the container's list of processes",
            lambda facts: "" if facts["said"].get("process") and not _other(facts, "pid") else "its own /proc does not know it",
            (
                "A process never changes its number. Who is born into the new numbers?",
                "NEWPID among the flags, and the fork after setns: only a child is in.",
            ),
        ),
        Claim(
            "it has the container's name, shared memory and network",
            lambda facts: (
                f"it is elsewhere by {', '.join(_other(facts, 'uts', 'ipc', 'net'))}"
                if _other(facts, "uts", "ipc", "net")
                else ""
            ),
            ("Which tables are there besides? Look at views.namespaces.", "setns takes many flags in one call, with a pidfd."),
        ),
        Claim(
            "it is no stronger than those that it visits",
            lambda facts: f"its powers are {facts['said'].get('powers')}" if _other(facts, "powers") else "",
            (
                "You came as root of the host. What do the others in there have?",
                "In the child, after it is in and before exec: it takes powers to get in.",
            ),
        ),
        Claim(
            "its status comes back",
            lambda facts: (
                "" if facts["status"] == "5" else f"the command ended with 5, and the function returned {facts['status']}"
            ),
            ("What does your function return?", "Lesson 1: wait for the child, and read its status."),
        ),
    ),
    solution=enter,
)

OUTLINE = Outline(
    "Pods, exec and sidecars",
    40,
    points={"start": (), "a container": (*ALONE, *FILES_AND_NUMBERS), "files and numbers": FILES_AND_NUMBERS},
    exercises=(ENTER,),
)
