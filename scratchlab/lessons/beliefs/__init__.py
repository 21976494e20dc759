"""The bank of false beliefs, one module for each lesson. The first option of a question is the belief.

An experiment returns one of the values that the options stand for, from a real sandbox. `BELIEFS` is the whole bank, by name.
It is read when it is first asked for: a lesson needs its own part, and a fresh machine would compile the others for nothing.
"""

from functools import cache
from importlib import import_module
from typing import Any

from scratchlab.lessons.beliefs.belief import Belief, Question
from scratchlab.lessons.outline import numbers

__all__ = ["BELIEFS", "BY_LESSON", "Belief", "Question", "find", "of_lesson"]

BELIEFS: dict[str, Belief]
BY_LESSON: dict[str, dict[str, Belief]]


@cache
def of_lesson(number: str) -> dict[str, Belief]:
    """The beliefs of one lesson, by name."""
    found: dict[str, Belief] = import_module(f"{__name__}.lesson_{number}").BELIEFS
    return found


def find(name: str, first: str) -> Belief | None:
    """A belief by name, looked for in the lesson `first` before all others."""
    return next((of_lesson(number)[name] for number in (first, *numbers()) if name in of_lesson(number)), None)


def __getattr__(name: str) -> Any:
    if name == "BY_LESSON":
        return {number: of_lesson(number) for number in numbers()}
    if name == "BELIEFS":
        return {name: belief for number in numbers() for name, belief in of_lesson(number).items()}
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
