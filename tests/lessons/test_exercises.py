"""Exercises: every solution passes, and wrong answers that people give are told what is wrong, and get the hint that fits."""

import pytest

from scratchlab.lessons import Lesson, numbers, outline
from tests.conftest import needs_root
from tests.lessons import wrong

pytestmark = [needs_root, pytest.mark.usefixtures("own_progress")]

EXERCISES = [(number, each.name) for number in numbers() for each in outline(number).exercises]
WRONG = [(number, name, answer) for (number, name) in EXERCISES for answer in wrong.ANSWERS[name]]


@pytest.mark.parametrize(("number", "name"), EXERCISES)
def test_our_own_solution_passes(number, name):
    exercise = outline(number).exercise(name)
    lesson = Lesson(number, {exercise.answer: exercise.solution})

    found = lesson.check(name)

    assert found.done, found
    assert f"1 of {len(outline(number).exercises)} exercises" in repr(lesson.progress())
    assert not lesson.close()


@pytest.mark.parametrize(("number", "name", "answer"), WRONG, ids=[f"{name}-{answer.__name__}" for _, name, answer in WRONG])
def test_a_wrong_answer_is_told_what_was_seen_and_gets_the_hint_for_it(number, name, answer):
    exercise = outline(number).exercise(name)
    lesson = Lesson(number, {exercise.answer: answer})
    claim = wrong.ANSWERS[name][answer]

    found = lesson.check(name)

    assert not found.done and found.number >= 0, found
    assert exercise.claims[found.number].says == claim
    assert "Traceback" not in repr(found)
    assert found.hints == exercise.claims[found.number].hints
    assert not lesson.close()
