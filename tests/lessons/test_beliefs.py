"""The bank of false beliefs: every experiment is made, and refutes."""

import pytest

from scratchlab.lessons import BELIEFS, numbers
from tests.conftest import needs_root

pytestmark = needs_root


@pytest.mark.parametrize("name", BELIEFS)
def test_the_kernel_refutes_a_belief(name):
    belief = BELIEFS[name]
    expected = next(iter(belief.options.values()))

    found = belief.experiment()

    assert found in belief.options.values()
    assert found != expected


def test_the_bank_has_a_dozen_beliefs_and_each_has_its_lesson():
    assert len(BELIEFS) >= 12
    assert {belief.lesson for belief in BELIEFS.values()} <= set(numbers())
    assert len({belief.question for belief in BELIEFS.values()}) == len(BELIEFS)
