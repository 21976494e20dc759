"""A lesson's folder on the host, written to the journal before it is made."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from scratchlab import linux
from scratchlab.errors import InputError, SandboxError
from scratchlab.journal import Journal, clean
from scratchlab.linux.proc import parse_mountinfo

_PREFIX = "/tmp/lesson-"


class Folder(NamedTuple):
    """A directory that goes with its journal, also after a crash."""

    path: Path
    journal: Journal

    @classmethod
    def make(cls, number: str) -> "Folder":
        """The first free one of /tmp/lesson-07, /tmp/lesson-07-2 …"""
        with suppress(SandboxError):  # whoever asks for `scratchlab clean` is told
            clean()  # a notebook that was killed has left the first one, and opened again it shall have that
        for count in range(1, 100):
            path = Path(f"{_PREFIX}{number}" + ("" if count == 1 else f"-{count}"))
            journal = Journal.claim("lesson")
            journal.fact(pid=os.getpid(), command=["(files of a lesson)"])
            if not path.exists():
                # Before it is made. Who comes between the two makes it first, and mkdir below fails: then it is not ours.
                mark = os.urandom(8).hex()
                journal.will("folder", path=str(path), mark=mark)
                try:
                    path.mkdir(mode=0o755)
                    (path / ".scratchlab").write_text(mark)
                    return cls(path, journal)
                except FileExistsError:
                    pass
            journal.close()
        raise InputError(f"{_PREFIX}{number} and 98 more of its kind are there already", "remove those that you do not need")

    def close(self) -> None:
        """Remove it with all that is in it."""
        self.journal.close()


def remove(path: str, mark: str) -> None:
    """Remove a lesson's folder, if it is there and bears our mark."""
    try:
        ours = path.startswith(_PREFIX) and Path(path, ".scratchlab").read_text() == mark
    except OSError:  # never made, or gone
        ours = False
    if ours:
        _unmount_below(path)
        shutil.rmtree(path)


def _unmount_below(path: str) -> None:
    """Take away what was mounted there on the host: behind a bind mount, rmtree would remove somebody else's files."""
    for mount in reversed(parse_mountinfo(Path("/proc/self/mountinfo").read_text())):
        if mount.target.startswith(f"{path}/"):
            linux.umount2(mount.target, linux.Umount.DETACH)
