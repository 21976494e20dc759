"""The bank of false beliefs, one module for each lesson. The first option of a question is the belief.

An experiment returns one of the values that the options stand for, from a real sandbox.
"""

from importlib import import_module

from scratchlab.lessons.beliefs.belief import Belief, Question
from scratchlab.lessons.outline import numbers

BY_LESSON: dict[str, dict[str, Belief]] = {number: import_module(f"{__name__}.lesson_{number}").BELIEFS for number in numbers()}
BELIEFS = {name: belief for beliefs in BY_LESSON.values() for name, belief in beliefs.items()}

__all__ = ["BELIEFS", "BY_LESSON", "Belief", "Question"]
