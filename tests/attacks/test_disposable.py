"""Attacks on the whole machine: refused here, and tried where a machine was booted to be thrown away."""

from pathlib import Path

import pytest

from scratchlab.attacks import ATTACKS, about, is_disposable
from scratchlab.attacks.machine import CORE_PATTERN
from scratchlab.container import Container
from scratchlab.errors import StageError
from scratchlab.trials.hosts import without
from scratchlab.trials.trial import GOT_OUT, NOT_TRIED, STOPPED, attempt
from tests.conftest import needs_root, only_where

pytestmark = needs_root

ON_THE_MACHINE = [name for name, attack in ATTACKS.items() if about(attack).disposable]

disposable = only_where(
    is_disposable(), "needs a machine to throw away: boot one with scratchlab.disposable=1 on its command line"
)
kept = only_where(not is_disposable(), "needs a machine that is not to be thrown away: run it there")


def test_there_are_two() -> None:
    assert ON_THE_MACHINE == ["core_pattern", "release_agent"]


@kept
@pytest.mark.parametrize("name", ON_THE_MACHINE)
def test_it_is_refused_here_however_it_is_called(name: str, busybox_rootfs: Path, tmp_path: Path) -> None:
    before = Path(CORE_PATTERN).read_text()
    verdict = attempt(without(Container(str(busybox_rootfs), ()), *about(ATTACKS[name]).stopped_by), ATTACKS[name])

    assert verdict.outcome == NOT_TRIED and "not there to be thrown away" in verdict.seen
    with pytest.raises(StageError, match=r"boot one with scratchlab\.disposable=1"):
        ATTACKS[name](str(tmp_path), str(tmp_path))
    assert Path(CORE_PATTERN).read_text() == before
    assert list(tmp_path.iterdir()) == []


@disposable
@pytest.mark.parametrize("name", ON_THE_MACHINE)
def test_the_default_container_stops_it(name: str, busybox_rootfs: Path) -> None:
    verdict = attempt(Container(str(busybox_rootfs), ()), ATTACKS[name])

    assert (verdict.outcome, verdict.host) == (STOPPED, ""), verdict


@disposable
@pytest.mark.parametrize("name", ON_THE_MACHINE)
def test_without_exactly_its_walls_it_gets_out_and_the_machine_is_as_before(name: str, busybox_rootfs: Path) -> None:
    before = Path(CORE_PATTERN).read_text()
    verdict = attempt(without(Container(str(busybox_rootfs), ()), *about(ATTACKS[name]).stopped_by), ATTACKS[name])

    assert (verdict.outcome, verdict.host) == (GOT_OUT, "a program of the container ran on the host"), verdict
    assert Path(CORE_PATTERN).read_text() == before


@disposable
@pytest.mark.parametrize(("name", "wall"), [(name, wall) for name in ON_THE_MACHINE for wall in about(ATTACKS[name]).stopped_by])
def test_any_one_of_its_walls_is_enough(name: str, wall: str, busybox_rootfs: Path) -> None:
    others = [other for other in about(ATTACKS[name]).stopped_by if other != wall]
    verdict = attempt(without(Container(str(busybox_rootfs), ()), *others), ATTACKS[name])

    assert verdict.outcome == STOPPED, verdict
