"""Run programs in a root filesystem with chroot(8), not with code of ours."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scratchlab import linux
from scratchlab.linux import Clone, Mount
from scratchlab.rootfs.check import PATH
from tests.conftest import in_child

NOBODY = 65534


def private_mounts() -> None:
    """Leave the mounts of this machine: what is mounted from here on, only this process sees."""
    linux.unshare(Clone.NEWNS)
    linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)


def run_inside(root: Path, *words: str, uid: int = 0) -> subprocess.CompletedProcess[str]:
    """What a command says whose root directory is `root`, with the host's /dev."""

    def act() -> subprocess.CompletedProcess[str]:
        private_mounts()
        linux.mount("/dev", str(root / "dev"), None, Mount.BIND)
        command = ["chroot", f"--userspec={uid}:{uid}", str(root), *words]
        return subprocess.run(command, env={"PATH": PATH, "LANG": "C.UTF-8"}, capture_output=True, text=True, check=False)

    return in_child(act)


def said_inside(root: Path, *words: str, uid: int = 0) -> str:
    """What a command prints that must work, without complaint."""
    done = run_inside(root, *words, uid=uid)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def as_nobody() -> None:
    """Become an ordinary user, for good."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


@contextmanager
def shared_directory() -> Iterator[Path]:
    """A directory where every user may make something; pytest's own are closed to all but one."""
    with tempfile.TemporaryDirectory(prefix="scratchlab-test-") as name:
        os.chmod(name, 0o777)
        yield Path(name)
