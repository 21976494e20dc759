"""What a lesson has left on the host: nothing, and here is how that is known."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from scratchlab import journal
from scratchlab.linux.proc import parse_mountinfo
from scratchlab.sandbox import Sandbox, client
from scratchlab.shared import run_directory

# Where lessons mount. Elsewhere other programs may come and go meanwhile.
_PLACES = {"/", "/proc", "/sys", "/dev", "/tmp", "/mnt"}
_PATIENCE = 5.0  # seconds that the kernel may take to end a process or to free a control group


class Leaks(NamedTuple):
    """What is left; where nothing is, its repr says what was looked at."""

    left: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.left)

    def __repr__(self) -> str:
        if self.left:
            return "\n".join(["left behind:", *(f"  {thing}" for thing in self.left)])
        return "nothing is left: no process, journal, control group, link or file; hostname and mounts as they were"


class Before(NamedTuple):
    """The host as it was when the lesson began."""

    hostname: str
    mounts: tuple[tuple[str, str], ...]

    @classmethod
    def now(cls) -> "Before":
        """The host as it is."""
        return cls(os.uname().nodename, _mounts())

    def leaks(self, boxes: Sequence[Sandbox], folder: Path | None, groups: Sequence[str] = ()) -> Leaks:
        """What is different, and what there is of these sandboxes and control groups still."""

        def left() -> list[str]:
            kept = [f"control group {path}" for path in groups if os.path.isdir(path)]
            return [*self._changed(folder), *kept, *(thing for box in boxes for thing in _of(box))]

        return Leaks(tuple(_settled(left)))

    def _changed(self, folder: Path | None) -> Iterator[str]:
        if os.uname().nodename != self.hostname:
            yield f"hostname {os.uname().nodename}, which was {self.hostname}"
        for target, fstype in _mounts():
            if (target, fstype) not in self.mounts:
                yield f"mount {target} {fstype}"
        if folder and folder.exists():
            yield f"folder {folder}"


def _mounts() -> tuple[tuple[str, str], ...]:
    found = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    return tuple(
        (mount.target, mount.fstype) for mount in found if mount.target in _PLACES or mount.target.startswith("/tmp/lesson-")
    )


def _of(box: Sandbox) -> Iterator[str]:
    if not box.closed:
        yield f"process {box.pid}"
    elif _is_anothers(box.name):
        return
    places = {
        "journal": [run_directory() / f"{box.name}.journal"],
        "control group": Path("/sys/fs/cgroup").glob(f"**/scratchlab/{box.name}"),
        "link": [Path(f"/sys/class/net/veth-{box.name}")],
    }
    for kind, paths in places.items():
        yield from (f"{kind} {path}" for path in paths if path.exists())


def _is_anothers(name: str) -> bool:
    """Whether another program has taken the name since: two may be in the same lesson."""
    try:
        found = journal.read(run_directory() / f"{name}.journal")
    except FileNotFoundError:
        return False
    return found.alive and found.owner["owner"] != client.keeper().process.pid


def _settled(look: Callable[[], list[str]]) -> list[str]:
    deadline = time.monotonic() + _PATIENCE
    while (left := look()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left
