"""Hints and solutions as a learner asks for them: one at a time, and not before a try."""

import inspect
import re

import pytest

from scratchlab.errors import InputError
from scratchlab.lessons import Lesson, outline
from tests.conftest import needs_root
from tests.lessons import wrong
from tests.lessons.test_exercises import EXERCISES

pytestmark = [needs_root, pytest.mark.usefixtures("own_progress")]


@pytest.mark.parametrize(("number", "name"), EXERCISES)
def test_an_exercise_knows_three_wrong_answers(number, name):
    assert len(wrong.ANSWERS[name]) >= 3


@pytest.mark.parametrize(("number", "name"), EXERCISES)
def test_hints_come_one_at_a_time_and_are_not_the_solution(number, name):
    exercise = outline(number).exercise(name)
    lesson = Lesson(number, {exercise.answer: wrong.nothing})
    told = [lesson.hint(name) for _ in range(3)]
    lines = [line.strip() for line in inspect.getsource(exercise.solution).splitlines()]

    assert told[0].startswith("hint 1 of ") and told[1].startswith("hint 2 of ") and "that is the last hint" in told[-1]
    assert all(re.search(r"\?|Look|Print|Read|has the words", claim.hints[0]) for claim in exercise.claims)
    assert not [line for line in lines[1:] for claim in exercise.claims for hint in claim.hints if line in hint]


@pytest.mark.parametrize(("number", "name"), EXERCISES)
def test_a_solution_is_shown_after_a_try_and_not_before(number, name):
    exercise = outline(number).exercise(name)
    lesson = Lesson(number, {exercise.answer: wrong.nothing})

    with pytest.raises(InputError, match=f'first lesson.check."{name}".'):
        lesson.solution(name)
    lesson.check(name)
    lesson.hint(name)

    assert repr(lesson.solution(name)).startswith(f"def {exercise.answer}(")


@pytest.mark.parametrize(("answer", "said"), [(None, "is not there yet"), (3, "is a int, not a function")])
def test_an_answer_that_is_none_is_told_so(answer, said):
    lesson = Lesson("00", {"rename": answer})

    assert said in repr(lesson.check("rename"))
    assert "Write a function called `rename`" in lesson.hint("rename")


def test_an_answer_that_fails_is_told_its_error_without_a_traceback():
    def rename(box):
        raise ValueError("oh")

    assert "`rename` stopped: ValueError: oh" in repr(Lesson("00", {"rename": rename}).check("rename"))
