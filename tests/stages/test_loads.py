"""Proofs of limits: a load runs into each, and the kernel's counters tell."""

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from scratchlab.errors import HostError, StageError
from scratchlab.linux import cgroupfs
from scratchlab.stages import cgroups, loads
from scratchlab.stages.loads import Proof
from scratchlab.stages.sizes import machine_memory
from scratchlab.stages.stage import proof_of
from tests.conftest import needs_root
from tests.linux.groups import fork_and
from tests.stages.boxed import LIMITS, boxed, disk, group

pytestmark = needs_root


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_proven_by_a_load_and_the_kernels_counters(name: str) -> None:
    stage, args = LIMITS[name]
    with boxed() as box:
        stage(box.target, *args)
        proof = proof_of(stage, box.target)

        assert proof.held
        assert proof.grew == [key for key, (before, after) in proof.counters.items() if after != before] != []
        assert f"{name}: the limit holds" in str(proof)
        assert Proof.from_data(json.loads(json.dumps(proof.to_data()))) == proof
        assert cgroupfs.procs(group(box)) == [box.target.pid]


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_that_was_not_set_cannot_be_proven(name: str) -> None:
    with boxed() as box, pytest.raises(StageError, match=f"has no {name} limit to prove"):
        proof_of(LIMITS[name][0], box.target)


def test_a_disk_limit_on_operations_is_proven_too() -> None:
    with boxed() as box:
        cgroups.io(box.target, disk(), read_iops=50)

        assert "reads" in loads.prove_io(box.target).load


def test_a_limit_that_is_not_enforced_is_an_error() -> None:
    with boxed() as box:
        cgroups.cpu(box.target, 0.1)
        path = group(box, "cpu")
        helper = fork_and(lambda: let_out(path, box.target.pid))

        try:
            with pytest.raises(StageError, match="the cpu limit is written, but not enforced"):
                loads.prove_cpu(box.target)
        finally:
            os.kill(helper, signal.SIGKILL)
            os.waitpid(helper, 0)


def let_out(path: str, stays: int) -> None:
    """Move the load out of its group whenever it is there, as if the kernel did not hold it."""
    out = os.path.dirname(os.path.dirname(path))
    while True:
        for pid in set(cgroupfs.procs(path)) - {stays}:
            with suppress(OSError):
                Path(out, "cgroup.procs").write_text(str(pid))
        time.sleep(0.002)


def test_a_proof_that_the_machine_cannot_give_says_why() -> None:
    with boxed() as box:
        cgroups.memory(box.target, machine_memory())
        cgroups.cpu(box.target, os.cpu_count())

        with pytest.raises(HostError, match=r"would fill .* and this machine has .* free"):
            loads.prove_memory(box.target)
        with pytest.raises(HostError, match="is all that this machine has"):
            loads.prove_cpu(box.target)
