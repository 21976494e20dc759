"""Lesson 14, seccomp: which system calls there are at all; and Landlock and labels, which see what a filter cannot."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from scratchlab import linux, stages
from scratchlab.errors import InputError, KernelError
from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.experiments import asked, in_child
from scratchlab.lessons.folder import Folder
from scratchlab.lessons.outline import Outline
from scratchlab.lessons.recording import CANNOT, confined, record
from scratchlab.linux import Prctl, SeccompFlag, SeccompOp
from scratchlab.linux.bpf import Program
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step
from scratchlab.stages.filters import filter_of
from scratchlab.stages.privileges import FEW

SAYS = "swordfish"


class Bench(NamedTuple):
    """Where a profile is tried: a sandbox, and a program that prints a file."""

    box: Sandbox
    argv: tuple[str, ...]


@contextmanager
def bench() -> Iterator[Bench]:
    """A sandbox, and the command that will be recorded and then confined."""
    home = Folder.make("14")
    try:
        (home.path / "file").write_text(SAYS)
        with Sandbox("exercise") as box:
            yield Bench(box, ("cat", str(home.path / "file")))
    finally:
        home.close()


def confining(answer: Answer) -> Facts:
    """Record a program, give the answer its calls, and try it under the profile that comes back."""
    with bench() as (box, argv):
        made = answer(list(record(box, *argv).calls))
        try:
            program = filter_of(_plain(made))
        except InputError as error:
            return {"error": error.message}
        done = confined(box, program, *argv)
        return {"error": "", "started": done.status != CANNOT, "ran": done.out == SAYS, "said": repr(done)} | {
            "passed": asked(box, _passed, program)
        }


def _plain(made: Any) -> Any:
    if made is None:
        raise InputError("it returned None")
    return made


def _passed(program: Program) -> list[str]:
    """Which calls, that the program never made, come through all the same."""
    return [name for name, call in _OTHERS.items() if in_child(lambda call=call: _answer(program, call)) == _THROUGH]  # type: ignore[misc]


# Calls that are harmless where they come through. The last one does what one of the program's own does.
_OTHERS = {
    "mkdir": lambda: linux.mkdir("/proc/none"),
    "unshare": lambda: linux.unshare(linux.Clone(0)),
    "keyctl": lambda: linux.keyctl(0, -4, 0),
    "openat2": lambda: linux.openat2(-100, "/", os.O_RDONLY),
}
_REFUSED, _THROUGH = 0, 1


def _answer(program: Program, call: Any) -> int:
    """Whether the kernel itself answers a call, and not the filter: without a filter, none of these says EPERM or ENOSYS."""
    linux.prctl(Prctl.SET_NO_NEW_PRIVS, 1)
    linux.seccomp(SeccompOp.SET_MODE_FILTER, SeccompFlag(0), program)
    try:
        call()
    except KernelError as error:
        return _REFUSED if KernelError.symbol(error.errno or 0) in ("EPERM", "ENOSYS", "EACCES") else _THROUGH
    return _THROUGH


def profile(calls: list[str]) -> dict[str, Any]:
    """What was recorded, and execve, which comes before the program does. All else is refused."""
    allowed = {"names": [*calls, "execve"], "action": "SCMP_ACT_ALLOW"}
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [allowed]}


def _others(facts: Facts, *names: str) -> str:
    found = [name for name in facts["passed"] if name in names]
    return f"{', '.join(found)} came through, and the program never called it" if found else ""


PROFILE = Exercise(
    "from-a-recording",
    answer="profile",
    ask="""
    Write `profile(calls)`. It gets the names of the calls that `cat` made when it printed a file, and returns a profile in
    the engines' format: a dict with a "defaultAction" and a list of "syscalls". Under it, `cat` prints a file as before,
    and no other call comes through, whatever it is called.
    """,
    observe=confining,
    claims=(
        Claim(
            "it is a profile that the stage takes",
            lambda facts: facts["error"],
            (
                "What does the message miss? Read the docstring of scratchlab/stages/profiles.py.",
                'A dict with "defaultAction", and "syscalls", a list of dicts with "names" and "action".',
            ),
        ),
        Claim(
            "the program can be started under it",
            lambda facts: "" if facts["started"] else "the program never began: execve was refused",
            (
                "Which call comes before a program's own first call, and who makes it?",
                "The filter is there before execve(2) is called, and a recording begins after it.",
            ),
        ),
        Claim(
            "the program does its work under it",
            lambda facts: "" if facts["ran"] else f"the file was not printed: {facts['said']}",
            ("Is every recorded call allowed? Print len(calls).", "All of calls go into one list of names."),
        ),
        Claim(
            "a call that it never made is refused",
            lambda facts: _others(facts, "mkdir", "unshare", "keyctl"),
            ("What becomes of a call that your profile does not name?", '"defaultAction" is for all that is not named.'),
        ),
        Claim(
            "so is a newer call that does the same as one of its own",
            lambda facts: _others(facts, "openat2"),
            ("How many calls would you have to name to refuse all that ever come?", "Name what is allowed, not what is refused."),
        ),
    ),
    solution=profile,
)

OUTLINE = Outline(
    "Which doors exist: seccomp",
    45,
    points={
        "start": (),
        "a filter": (step(stages.seccomp, ["mkdir", "mkdirat"]),),
        "as in a container": (
            step(stages.capabilities, [cap.name for cap in FEW]),
            step(stages.no_new_privs),
            step(stages.seccomp),
        ),
    },
    exercises=(PROFILE,),
)
