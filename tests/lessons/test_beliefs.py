"""The bank of false beliefs: every experiment is made, and refutes."""

import pytest

from scratchlab.lessons import BELIEFS, numbers
from scratchlab.lessons.beliefs import BY_LESSON
from tests.conftest import needs_root

pytestmark = needs_root


@pytest.mark.parametrize("name", BELIEFS)
def test_the_kernel_refutes_a_belief(name):
    belief = BELIEFS[name]
    expected = next(iter(belief.options.values()))

    found = belief.experiment()

    assert found in belief.options.values()
    assert found != expected


def test_the_bank_asks_nothing_twice_and_each_lesson_has_two_beliefs():
    assert len({belief.question for belief in BELIEFS.values()}) == len(BELIEFS) == sum(map(len, BY_LESSON.values()))
    assert [number for number in numbers() if len(BY_LESSON[number]) < 2] == []
