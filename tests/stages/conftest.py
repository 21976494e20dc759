"""What the tests of stages share."""

import shutil
from pathlib import Path

import pytest

PROGRAMS = ("sh", "ls", "cat", "mount", "id", "touch", "mkdir", "test", "stat")


@pytest.fixture
def tiny_root(tmp_path: Path) -> Path:
    """The smallest root filesystem that can do something: one static program under several names."""
    root = tmp_path / "rootfs"
    for directory in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (root / directory).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for name in PROGRAMS:
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/inside").write_text("inside\n")
    return root
