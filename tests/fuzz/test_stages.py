"""Any stages, in any order, with any arguments: each is a change or an error of ours with a cause, and nothing is left.

2,000 sequences of steps in a normal run, always the same; SCRATCHLAB_FUZZ=10 makes it ten times as many, and other ones each
time. What they are done to: machine.py. What arguments may be: values.py.
"""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from scratchlab.stages import STAGES, Step
from tests.conftest import needs_root
from tests.fuzz.machine import Machine, in_machine, laid_out
from tests.fuzz.profile import examples
from tests.fuzz.values import parameters, sequences, values_of


@pytest.mark.parametrize("name", STAGES)
def test_each_parameter_of_each_stage_has_values_to_try(name: str) -> None:
    for parameter in parameters(STAGES[name]):
        assert values_of(name, parameter.name) is not None, "add it to VALUES in tests/fuzz/values.py"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, busybox_rootfs: Path) -> dict[str, Any]:
    return laid_out(tmp_path_factory.mktemp("places"), busybox_rootfs)


@needs_root
@pytest.mark.parametrize(("count", "look"), [(1900, False), (100, True)], ids=["done", "done and looked at"])
def test_any_steps_in_any_order_are_done_or_refused_with_a_cause(places: dict[str, Any], count: int, look: bool) -> None:
    def act(machine: Machine) -> None:
        @given(sequences())
        @examples(count)
        def each(drawn: tuple[list[Step], list[Step]]) -> None:
            first, todo = drawn
            machine.try_all(todo, look, first)

        each()

    in_machine(places, act)
