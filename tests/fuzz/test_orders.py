"""The steps of a container with some left out, and in any order: it runs or says why it cannot, and nothing is left.

30 of each in a normal run, always the same; SCRATCHLAB_FUZZ=10 makes it ten times as many, and other ones each time.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlab.container import APART, Container
from scratchlab.errors import ScratchlabError
from scratchlab.stages import STAGES, Step, about
from tests.conftest import needs_root
from tests.fuzz.machine import NAME, Machine, assert_teaches, in_machine, laid_out
from tests.fuzz.profile import examples

pytestmark = needs_root


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, busybox_rootfs: Path) -> dict[str, Any]:
    return laid_out(tmp_path_factory.mktemp("places"), busybox_rootfs)


OPTIONS = {
    "network": st.sampled_from(["veth", "none", "host"]),
    "read_only": st.booleans(),
    "chroot": st.booleans(),
    "user": st.sampled_from(["0", "1000", "1000:7"]),
    "publish": st.just(("127.0.0.1:23461:80",)),
    "userns": st.sampled_from(["", "auto"]),
    "cap_drop": st.just(("ALL",)),
    "cap_add": st.sampled_from([("NET_RAW",), ("ALL",)]),
    "security_opt": st.just(("seccomp=unconfined",)),
}
options = st.fixed_dictionaries({}, optional=OPTIONS)


def with_all_that_need_it(left_out: set[str]) -> frozenset[str]:
    """More stages left out: those that would act on the host itself without the first ones."""
    kinds = {APART[name] for name in left_out & APART.keys()}
    return frozenset(left_out) | {name for name in STAGES if kinds.intersection(about(STAGES[name]).needs)}


subsets = st.sets(st.sampled_from(sorted(STAGES)), max_size=8)


@st.composite
def containers(draw: Callable[..., Any], command: tuple[str, ...] = ("true",)) -> Container:
    left_out = draw(subsets.map(with_all_that_need_it) | subsets.map(frozenset))
    return Container("<root>", command, name=NAME, left_out=left_out, **draw(options))


def test_a_container_runs_without_any_of_its_steps_or_says_why_not(places: dict[str, Any]) -> None:
    def act(machine: Machine) -> None:
        @given(containers())
        @examples(30)
        def each(container: Container) -> None:
            with machine.unharmed():
                try:
                    with container._replace(rootfs=places["<root>"]).started(machine.keeper) as box:
                        assert box.run("true").ok
                except ScratchlabError as error:
                    assert_teaches(Step(Container), error)

        each()

    in_machine(places, act)


def test_the_steps_of_a_container_are_done_in_any_order_or_refused(places: dict[str, Any]) -> None:
    def act(machine: Machine) -> None:
        @given(options, st.randoms(use_true_random=False))
        @examples(30)
        def each(chosen: dict[str, Any], chance: Any) -> None:
            try:
                todo = Container(places["<root>"], ("true",), **chosen).plan()
            except ScratchlabError as error:
                return assert_teaches(Step(Container), error)
            chance.shuffle(todo)
            return machine.try_all(todo)

        each()

    in_machine(places, act)
