"""Lesson 7, being PID 1: its own numbers, its own /proc, and the duties of the first process."""

import os
import signal
from typing import Any

from scratchlab import linux, stages
from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.experiments import in_child, inside
from scratchlab.lessons.outline import Outline
from scratchlab.lessons.watching import ended, failure, let_run, lines_of, zombies_of
from scratchlab.stages import step

# Says when it is there; leaves an orphan; on TERM says so, and ends with status 7.
COMMAND = 'trap "echo asked; kill $!; exit 7" TERM; (true &); echo started as $$; sleep 100 & wait'


def stopping(answer: Answer) -> Facts:
    """Make the answer process 1 of a new namespace, ask it to stop, and write down what happens."""

    def act() -> dict[str, Any]:
        reader, writer = os.pipe()
        in_child(lambda: _supervise(answer, writer))
        os.close(writer)
        with open(reader) as stream:
            return dict(line.rstrip("\n").split(": ", 1) for line in stream if ": " in line)

    facts: Facts = inside(act)
    return facts


def _supervise(answer: Answer, writer: int) -> int:
    """In a process that ends afterwards: unsharing the namespace of its children would spoil the sandbox."""
    linux.unshare(linux.Clone.NEWPID)
    reader, said = os.pipe()
    first = let_run(lambda: answer("sh", "-c", COMMAND), said)
    os.close(said)
    lines = lines_of(reader, until="started")
    zombies = zombies_of(first)
    os.kill(first, signal.SIGTERM)
    status = ended(first)
    lines += lines_of(reader, until="")
    facts = {
        "started": next((line.removeprefix("started as ") for line in lines if line.startswith("started")), ""),
        "zombies": zombies, "status": status, "asked": "yes" if "asked" in lines else "",
        "failed": failure(lines),
    }  # fmt: skip
    os.write(writer, "".join(f"{key}: {value}\n" for key, value in facts.items()).encode())
    return 0


def init(*command: str) -> int:
    """Start the command, hand TERM on, reap whoever ends, until the command has."""
    child = os.fork()
    if child == 0:
        os.execvp(command[0], command)
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(child, number))
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


INIT = Exercise(
    "die-properly",
    answer="init",
    ask="""
    Write `init(*command)`. It is process 1 of a new PID namespace: it runs the command as a child, hands SIGTERM on
    to it, reaps whatever is left to it, and returns the command's status when the command has ended.
    """,
    observe=stopping,
    claims=(
        Claim(
            "the command runs",
            lambda facts: "" if facts.get("started") else facts.get("failed") or "the command never said a word",
            ("Process 1 is your function. Who is the command?", "fork, and exec in the child: lesson 1 has both."),
        ),
        Claim(
            "it runs as a child of process 1",
            lambda facts: "the command itself is process 1 now" if facts["started"] == "1" else "",
            ("After exec, who is left to reap and to hand signals on?", "Fork first; exec in the child only."),
        ),
        Claim(
            "process 1 ends when it is asked to",
            lambda facts: "after TERM, process 1 runs on" if facts["status"] == "runs" else "",
            ("Who delivers a signal that process 1 has no handler for?", "signal.signal(signal.SIGTERM, …), in process 1."),
        ),
        Claim(
            "the command was asked, too, and not killed",
            lambda facts: (
                "" if facts["asked"] else "process 1 ended, and the kernel killed the command with it: nobody had asked it to end"
            ),
            (
                "What does the kernel do with a namespace whose process 1 is gone?",
                "In the handler, os.kill(child, number); and then wait for it.",
            ),
        ),
        Claim(
            "no orphan stays a zombie",
            lambda facts: (
                "" if facts["zombies"] == "0" else f"{facts['zombies']} ended orphan is a zombie: who is its parent now?"
            ),
            (
                "The command left a child without a parent. Who adopts it?",
                "waitpid(child) waits for one; os.wait() for whoever ends first.",
            ),
        ),
        Claim(
            "the command's status comes out",
            lambda facts: (
                "" if facts["status"] == "7" else f"the command ended with status 7, and process 1 with {facts['status']}"
            ),
            ("What does your function return?", "os.waitstatus_to_exitcode of the status that wait told for the command."),
        ),
    ),
    solution=init,
)

OUTLINE = Outline(
    "Being PID 1",
    35,
    points={
        "start": (),
        "process 1": (step(stages.unshare_pid),),
        "its own /proc": (step(stages.unshare_mount), step(stages.private_mounts), step(stages.unshare_pid), step(stages.proc)),
    },
    exercises=(INIT,),
)
