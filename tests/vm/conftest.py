"""One image and one snapshot for all tests of machines, in the user's own cache; and the promise that no machine stays."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scratchlab.vm import Machine, kernelspecs, registry
from tests.vm.kernels import Kernel, started
from tests.vm.machines import HAS_MACHINES, NO_MACHINES, qemus, temporary_files


@pytest.fixture(scope="session")
def built() -> None:
    """The image and the snapshot exist: the first test of all builds them, and need not be in a hurry."""
    if not HAS_MACHINES:
        pytest.skip(NO_MACHINES)
    Machine.start().close()


@pytest.fixture
def machine(built: None) -> Iterator[Machine]:
    """A machine of the test's own: a quarter of a second."""
    with Machine.start() as made:
        yield made


@pytest.fixture(scope="module")
def shared(built: None) -> Iterator[Machine]:
    """A machine that the tests of one file share, for what changes nothing."""
    with Machine.start() as made:
        yield made


def _left() -> set[str]:
    entries = {f"entry {entry.name}" for entry in registry.entries() if entry.facts.get("owner") == os.getpid()}
    return {f"qemu {pid}" for pid in qemus(os.getpid())} | temporary_files() | entries


@pytest.fixture(autouse=True)
def no_machine_left() -> Iterator[None]:
    """No QEMU of ours, no file, no entry; a machine whose program was killed takes a moment to power off."""
    before = _left()
    yield
    deadline = time.monotonic() + 20
    while (left := _left() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


@pytest.fixture(scope="session")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of our kernelspecs, installed for the tests alone."""
    place = tmp_path_factory.mktemp("jupyter")
    kernelspecs.install(place, [], [])
    return place / "kernels"


@pytest.fixture
def kernel(built: None, specs: Path, tmp_path: Path) -> Iterator[Kernel]:
    """A kernel of the test's own, in the test's folder."""
    with started(specs, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def common(built: None, specs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel that the tests of one file share, for what changes nothing."""
    with started(specs, tmp_path_factory.mktemp("folder")) as made:
        yield made
