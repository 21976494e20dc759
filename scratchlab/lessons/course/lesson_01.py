"""Lesson 1, a process: fork, exec, wait, and what a child inherits."""

import ast
import os
import signal
from pathlib import Path
from typing import Any

from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.experiments import in_child, inside
from scratchlab.lessons.outline import Outline


def spawning(answer: Answer) -> Facts:
    """In a process of its own, start commands that end differently, and look what is left."""

    def act() -> dict[str, Any]:
        reader, writer = os.pipe()
        in_child(lambda: os.write(writer, repr(_calls(answer)).encode()) and 0)
        os.close(writer)
        with open(reader, "rb") as stream:
            return {"told": stream.read(1 << 16).decode()}

    told = inside(act)["told"]
    facts: Facts = ast.literal_eval(told) if told else {"error": "its process died, and said nothing"}
    return facts


def _calls(answer: Answer) -> dict[str, Any]:
    me = os.getpid()
    facts: dict[str, Any] = {}
    for name, words in {
        "status": ("sh", "-c", "exit 7"),
        "signal": ("sh", "-c", "kill -9 $$"),
        "absent": ("/no/such/program",),
    }.items():
        try:
            facts[name] = _plain(answer(*words))
        # Its error is what we want to tell.
        except BaseException as error:
            facts[name] = f"{type(error).__name__}"
        if os.getpid() != me:
            os._exit(0)  # a child that came back from a call of which only the parent should
        facts[f"{name} zombies"] = _zombies(me)
    return facts


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, int | str | tuple) else type(value).__name__


def _zombies(parent: int) -> int:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return sum(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z" for child in children)


def spawn(*argv: str) -> tuple[int | None, str | None]:
    """Fork, exec in the child, wait in the parent; and say how it ended."""
    child = os.fork()
    if child == 0:
        try:
            os.execvp(argv[0], argv)
        except OSError:
            os._exit(127)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return (code, None) if code >= 0 else (None, signal.Signals(-code).name)


def _but(wanted: object, facts: Facts, key: str, of: str) -> str:
    return "" if facts[key] == wanted else f"for {of} it returned {facts[key]!r}, not {wanted!r}"


SPAWN = Exercise(
    "spawn",
    answer="spawn",
    ask="""
    Write `spawn(*argv)` with fork, exec and wait. It runs a command, waits for its end, and returns `(status, signal)`:
    `(7, None)` for a command that ends with status 7, `(None, "SIGKILL")` for one that was killed, and `(127, None)`
    where there is no such program. No zombie is left.
    """,
    observe=spawning,
    claims=(
        Claim(
            "it comes back with something",
            lambda facts: facts.get("error", "") or ("" if facts["status"] is not None else "it returned None"),
            (
                "Three calls make a process that does something else, and hear of its end. Which?",
                "os.fork() returns twice. Who gets 0?",
            ),
        ),
        Claim(
            "no child is left behind as a zombie",
            lambda facts: "a zombie is left: its end is told, and nobody asks" if facts["status zombies"] else "",
            (
                "What does the kernel keep of a process that has ended, and for whom?",
                "waitpid(2) of the child's pid takes it away.",
            ),
        ),
        Claim(
            "a status is told as it is",
            lambda facts: _but((7, None), facts, "status", "a command that ends with status 7"),
            (
                "waitpid does not return 7. Print what it returns, in hexadecimal.",
                "wait(2) has macros to take it apart; Python has os.waitstatus_to_exitcode.",
            ),
        ),
        Claim(
            "a signal is told by its name",
            lambda facts: _but((None, "SIGKILL"), facts, "signal", "a command that was killed"),
            ("How does os.waitstatus_to_exitcode say that a signal ended it?", "signal.Signals(9).name"),
        ),
        Claim(
            "a program that is not there is told as 127, and the child ends",
            lambda facts: (
                _but((127, None), facts, "absent", "a program that does not exist")
                or ("a zombie is left after a failed exec" if facts["absent zombies"] else "")
            ),
            (
                "exec returns only where it fails. Who goes on then, and with which code?",
                "The child must end at once, with os._exit, and never return.",
            ),
        ),
    ),
    solution=spawn,
)

OUTLINE = Outline("A process, and nothing else", 30, points={"start": ()}, exercises=(SPAWN,))
