"""What several tests of machines need: whether there can be any, and whether one left something."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from scratchlab.vm import image

HAS_MACHINES = bool(image.find() or shutil.which("apt-get"))
NO_MACHINES = "needs a machine's image: run `scratchlab vm build` on a Debian or Ubuntu, or `scratchlab vm import FILE`"

SLOW = bool(os.environ.get("SCRATCHLAB_SLOW"))
NOT_SLOW = "takes minutes: set SCRATCHLAB_SLOW=1"


def qemus(owner: int) -> list[int]:
    """QEMUs that a process started, or that are nobody's any more: their parent is process 1."""
    return [pid for pid, parent in _all_qemus() if parent in (owner, 1)]


def _all_qemus() -> Iterator[tuple[int, int]]:
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"scratchlab" in words and b"qemu-system" in words[0] + words[-2]:
            yield int(path.name), parent


def temporary_files() -> set[str]:
    """Files of ours in the directory for temporary files."""
    return {path.name for path in Path("/tmp").glob("scratchlab-*") if path.is_file()}
