"""What a lesson is made of, apart from its prose: one module of `course/` for each, found by its number."""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import NamedTuple

from scratchlab.errors import InputError
from scratchlab.lessons import course
from scratchlab.lessons.exercise import Exercise
from scratchlab.stages import Step


class Outline(NamedTuple):
    """One lesson's title, length, points to jump to, and exercises."""

    title: str
    minutes: int
    points: Mapping[str, tuple[Step, ...]]  # by name: the steps of a sandbox that has come so far
    exercises: tuple[Exercise, ...]
    shared_host: bool = False  # its sandboxes stand on a throw-away host, whose mounts are all shared

    def exercise(self, name: str) -> Exercise:
        """An exercise by name. Raises InputError where there is none."""
        for exercise in self.exercises:
            if exercise.name == name:
                return exercise
        raise InputError(f"no exercise is called {name!r} here", f"there is {', '.join(each.name for each in self.exercises)}")


def numbers() -> list[str]:
    """The lessons that exist: "00", "01" …"""
    return sorted(
        name.removeprefix("lesson_") for _, name, _ in pkgutil.iter_modules(course.__path__) if name.startswith("lesson_")
    )


@cache
def outline(number: str) -> Outline:
    """A lesson's outline by number. Raises InputError where there is none."""
    if number not in numbers():
        raise InputError(f"there is no lesson {number!r}", f"there are {', '.join(numbers())}")
    found: Outline = import_module(f"{course.__name__}.lesson_{number}").OUTLINE
    return found
