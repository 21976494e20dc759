"""Lessons: predict, check, hint, jump, progress, for the notebooks; and the exercises and false beliefs that they use."""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scratchlab.lessons.beliefs import BELIEFS

try:
    from scratchlab.lessons.beliefs import Belief
    from scratchlab.lessons.exercise import Claim, Exercise, Finding
    from scratchlab.lessons.lesson import Lesson
    from scratchlab.lessons.outline import Outline, numbers, outline
    from scratchlab.lessons.predict import Prediction, unattended
except ModuleNotFoundError as error:
    # A system without what only Linux has: lessons run in a machine there, and this side only copies the notebooks (copies.py).
    if error.name not in sys.stdlib_module_names:
        raise

__all__ = [
    "BELIEFS", "Belief", "Claim", "Exercise", "Finding", "Lesson", "Outline", "Prediction", "numbers", "outline", "unattended",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """The whole bank of beliefs, when it is first asked for: see beliefs/."""
    if name != "BELIEFS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from scratchlab.lessons import beliefs

    return beliefs.BELIEFS
