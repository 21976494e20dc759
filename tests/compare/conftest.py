"""One Docker daemon for all tests that want one, and a root filesystem that other engines may write to."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from scratchlab.rootfs import create
from tests.compare import engines
from tests.conftest import needs


def needs_program(program: str, package: str) -> pytest.MarkDecorator:
    """Skip where an engine is not installed."""
    return needs(shutil.which(program), f"needs {program}: apt-get install {package}")


@pytest.fixture(scope="session")
def peer_rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A busybox for other engines: they leave mount points in it."""
    return create(tmp_path_factory.mktemp("peer") / "rootfs", "busybox")


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory, peer_rootfs: Path) -> Iterator[engines.Docker]:
    """A daemon of our own; two seconds to start, three to end."""
    with engines.docker(tmp_path_factory.mktemp("docker"), peer_rootfs) as daemon:
        yield daemon
