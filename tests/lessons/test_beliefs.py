"""The bank of false beliefs: every experiment is made, and refutes."""

import subprocess
import sys

import pytest

from scratchlab.lessons import BELIEFS, numbers
from scratchlab.lessons.beliefs import BY_LESSON, find
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


def test_a_belief_is_found_from_any_lesson_and_a_lesson_reads_no_other_ones():
    program = (
        "import sys; from scratchlab.lessons import Lesson; Lesson('02', {}).belief('chroot-is-a-wall'); "
        "print(*(name for name in sys.modules if 'beliefs.lesson_' in name))"
    )
    read = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert read == ["scratchlab.lessons.beliefs.lesson_02"]
    assert find("chroot-is-a-wall", "07") is BELIEFS["chroot-is-a-wall"] and find("nobody", "07") is None
