"""What each wall is for, by experiment: every attack is stopped by default, and gets out when exactly its walls are gone."""

from pathlib import Path

import pytest

from scratchlab.attacks import ATTACKS, about
from scratchlab.container import Container
from scratchlab.trials.board import scoreboard
from scratchlab.trials.hosts import without
from scratchlab.trials.trial import GOT_OUT, STOPPED, Verdict, attempt
from tests.conftest import needs_root

pytestmark = needs_root

INSIDE = [name for name, attack in ATTACKS.items() if not about(attack).disposable]
EACH_WALL = [(name, wall) for name in INSIDE for wall in about(ATTACKS[name]).stopped_by]


def against(rootfs: Path, name: str, *left_out: str) -> Verdict:
    return attempt(without(Container(str(rootfs), ()), *left_out), ATTACKS[name], left_out)


@pytest.mark.parametrize("name", INSIDE)
def test_the_default_container_stops(name: str, busybox_rootfs: Path) -> None:
    verdict = against(busybox_rootfs, name)

    assert (verdict.outcome, verdict.host) == (STOPPED, ""), verdict
    assert verdict.walls == about(ATTACKS[name]).stopped_by


@pytest.mark.parametrize("name", INSIDE)
def test_without_exactly_its_walls_it_gets_out(name: str, busybox_rootfs: Path) -> None:
    verdict = against(busybox_rootfs, name, *about(ATTACKS[name]).stopped_by)

    assert verdict.outcome == GOT_OUT, verdict
    assert verdict.seen and verdict.host  # both sides say so
    assert verdict.walls == ()


@pytest.mark.parametrize("name", [name for name in INSIDE if "unshare_user" in about(ATTACKS[name]).also])
def test_a_user_namespace_alone_stops_what_names_it(name: str, busybox_rootfs: Path) -> None:
    container = Container(str(busybox_rootfs), (), userns="auto")
    verdict = attempt(without(container, *about(ATTACKS[name]).stopped_by), ATTACKS[name])

    assert (verdict.outcome, verdict.walls) == (STOPPED, ("unshare_user",)), verdict


@pytest.mark.parametrize(("name", "wall"), EACH_WALL)
def test_any_one_of_its_walls_is_enough(name: str, wall: str, busybox_rootfs: Path) -> None:
    others = [other for other in about(ATTACKS[name]).stopped_by if other != wall]
    verdict = against(busybox_rootfs, name, *others)

    assert verdict.outcome == STOPPED, verdict
    assert verdict.walls == (wall,)


def test_the_default_limits_hold_in_their_full_height(busybox_rootfs: Path) -> None:
    # In a sandbox that lives, they are as they are: 2 GB and 512 processes. A whole CPU, or it would take ten seconds.
    with Container(str(busybox_rootfs), (), cpus=1).started() as box:
        bombs = scoreboard(box, "fork_bomb", "memory_bomb")

    assert [verdict.outcome for verdict in bombs.verdicts] == [STOPPED, STOPPED]
    assert bombs["fork_bomb"].seen == "510 processes, then fork() = EAGAIN"  # with process 1 and the attacker itself
    assert bombs["memory_bomb"].seen == "killed by SIGKILL"
