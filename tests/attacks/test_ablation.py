"""The matrix of attacks and missing stages: found by running, and in agreement with what the attacks say of themselves."""

import json
from contextlib import ExitStack
from pathlib import Path

from scratchlab import Container, ablate
from scratchlab.attacks import ATTACKS, about
from scratchlab.trials import baits
from scratchlab.trials.ablation import Ablation
from scratchlab.trials.hosts import without
from scratchlab.trials.trial import GOT_OUT, STOPPED, attempt
from tests.conftest import needs_root

pytestmark = needs_root

# One with a wall that stands alone, one with several, one whose wall is a tool of the host.
SOME = ("host_processes", "foreign_root", "image_tar")


def test_the_matrix_agrees_with_the_walls_that_each_attack_names(busybox_rootfs: Path) -> None:
    matrix = ablate(Container(str(busybox_rootfs), ()), *SOME)

    for name in SOME:
        walls = about(ATTACKS[name]).stopped_by
        assert matrix.whole[name].outcome == STOPPED
        assert matrix.bare[name].outcome == GOT_OUT
        # A wall is needed for itself alone only where it is the only one.
        assert [wall for wall in walls if wall in matrix.needed(name)] == (list(walls) if len(walls) == 1 else [])
    assert matrix.got_out == []


def test_the_matrix_reads_well_and_travels_as_json(busybox_rootfs: Path) -> None:
    seen: list[float | None] = []
    matrix = ablate(Container(str(busybox_rootfs), ()), "image_tar", progress=lambda _what, fraction: seen.append(fraction))
    head, row, *_ = repr(matrix).splitlines()

    assert head.split()[:4] == ["missing", "stage", "none", "1"]
    assert row.split() == ["image_tar", ".", *("X" if stage == "unpack" else "." for stage in matrix.stages), "X", "unpack"]
    assert f"{len(matrix.stages):2} unpack" in repr(matrix)
    assert json.loads(json.dumps(matrix.to_data()))["image_tar"]["without"]["unpack"] == GOT_OUT
    assert seen == sorted(seen, key=float) and seen[-1] == 1  # type: ignore[arg-type]


def test_keys_of_others_on_the_same_machine_do_not_hide_the_one_that_is_looked_for(busybox_rootfs: Path) -> None:
    with ExitStack() as others:
        for number in range(30):
            others.enter_context(baits.key(f"of another {number}"))
        verdict = attempt(without(Container(str(busybox_rootfs), ()), "mask"), ATTACKS["host_keys"])

    assert verdict.outcome == GOT_OUT


def test_a_cell_that_cannot_be_tried_is_not_counted_as_stopped(busybox_rootfs: Path) -> None:
    matrix: Ablation = ablate(Container(str(busybox_rootfs), (), network="none"), "arp_spoof")

    assert matrix.cells["arp_spoof", "unshare_net"].outcome == "not tried"
    assert " - " in repr(matrix).splitlines()[1]
