"""Paths in somebody else's root filesystem, while others change the machine's files."""

import os
import signal
from pathlib import Path

from scratchlab.linux import paths


def test_a_path_is_opened_whatever_is_renamed_on_the_machine_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "run").mkdir()
    one, other = (str(tmp_path / name) for name in ("one", "other"))
    Path(one).touch()
    if (storm := os.fork()) == 0:
        while True:
            os.rename(one, other)
            os.rename(other, one)
    root = paths.open_root(str(tmp_path))
    try:
        for _ in range(5000):  # of so many, some fail at the first try
            os.close(paths.open_inside(root, "etc/../run", os.O_PATH))
    finally:
        os.close(root)
        os.kill(storm, signal.SIGKILL)
        os.waitpid(storm, 0)
