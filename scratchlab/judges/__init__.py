"""The default container before independent judges: capsh, a probe from inside, runc by its own defaults, docker and podman.

`judge()` makes containers of each maker, tries the same things in all of them, and says what of our claims holds.
"""

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scratchlab.errors import HostError
from scratchlab.judges import engines
from scratchlab.judges.evidence import Evidence, Host
from scratchlab.judges.judgement import Judgement, Ruling, ruled
from scratchlab.judges.tools import Tools, gather, require_programs
from scratchlab.rootfs import create

__all__ = ["Evidence", "Judgement", "Ruling", "judge"]


def judge(rootfs: str | os.PathLike[str] | None = None, without: Sequence[str] = ()) -> Judgement:
    """Our default container against its peers, in `rootfs`, or in a small one made for the moment.

    Each claim is made against runc. What docker and podman do otherwise is shown too, where they are here. `without`
    leaves stages out of ours, by name: to see which claims rest on them.
    Raises HostError for a judge that is not installed.
    """
    require_programs()
    with tempfile.TemporaryDirectory(prefix="scratchlab-judge-") as directory:
        place = Path(directory)
        place.chmod(0o755)  # its tools are for the container's users too
        tools = gather(place / "tools")
        root = os.fspath(rootfs or create(place / "rootfs", "busybox"))
        container = engines.default_container(root, tools).without(*without)
        with container.started() as box:
            # While ours is there, so are the mount points that it made: runc would make them too, and leave them.
            found = [engines.ours(box, container, tools), engines.runc(root, tools, place / "runc")]
        absent = _others(found, tools, place)
    ours, runc, *others = found
    host = Host.here()
    rulings = [
        *ruled(ours, runc, host, binding=True),
        *(each for other in others for each in ruled(ours, other, host, binding=False)),
    ]
    return Judgement(_by_question(rulings), tuple(found), absent)


def _others(found: list[Evidence], tools: Tools, place: Path) -> tuple[str, ...]:
    """Ask those engines that are here too. Gives why one could not be asked."""
    peers = {"docker": engines.docker, "podman": engines.podman}
    absent = []
    for name, ask in peers.items():
        try:
            if not shutil.which(name):
                raise HostError("it is not installed")
            found.append(ask(tools, place / name))
        except HostError as error:
            absent.append(f"{name} was not asked: {error.message}")
    return tuple(absent)


def _by_question(rulings: list[Ruling]) -> tuple[Ruling, ...]:
    """All peers' answers to one question side by side."""
    order = {ruling.what: number for number, ruling in reversed(list(enumerate(rulings)))}
    return tuple(sorted(rulings, key=lambda ruling: order[ruling.what]))
