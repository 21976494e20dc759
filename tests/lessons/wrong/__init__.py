"""Wrong answers that people give, by lesson and exercise: each with the claim that it does not meet."""

from importlib import import_module

from scratchlab.lessons import numbers
from tests.lessons.wrong.nothing import nothing

ANSWERS = {
    name: answers for number in numbers() for name, answers in import_module(f"{__name__}.lesson_{number}").ANSWERS.items()
}

__all__ = ["ANSWERS", "nothing"]
