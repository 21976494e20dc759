"""Layers: what many believe, and experiments that refute it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from scratchlab import stages
from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step

LARGE = 4 << 20


@contextmanager
def container() -> Iterator[tuple[Path, Sandbox]]:
    """A sandbox with an image of two layers, one with a large file, and the place of its directories."""
    with TemporaryDirectory() as folder, Sandbox("experiment") as box:
        place = Path(folder)
        for name in ("base", "second", "upper", "work", "merged"):
            (place / name).mkdir()
        (place / "base/large").write_bytes(os.urandom(LARGE))
        (place / "second/small").write_text("small")
        layers, directories = [f"{place}/second", f"{place}/base"], [f"{place}/{name}" for name in ("upper", "work", "merged")]
        box.play([step(stages.unshare_mount), step(stages.private_mounts), step(stages.overlay, layers, *directories)])
        yield place, box


def held(*directories: Path) -> int:
    """How many bytes of the disk the files below take, in large files: entries and small ones are not counted."""
    files = [path.lstat() for directory in directories for path in directory.rglob("*")]
    return sum(file.st_blocks * 512 for file in files if file.st_blocks * 512 >= LARGE) // LARGE * LARGE


def copied_at_the_start() -> int:
    """Start a container from two layers, and look at what is in its own one."""
    with container() as (place, _box):
        return held(place / "upper")


def saved_by_deleting() -> int:
    """Delete the large file in a container, and measure all layers before and after."""
    with container() as (place, box):
        layers = [place / name for name in ("base", "second", "upper")]
        before = held(*layers)
        box.run("rm", f"{place}/merged/large")
        return before - held(*layers)


def copied_by_chmod() -> int:
    """Change nothing but the mode of the large file, and look at what is in the container's own layer."""
    with container() as (place, box):
        box.run("chmod", "600", f"{place}/merged/large")
        return held(place / "upper")


BELIEFS = {
    "a-start-copies-the-image": Belief(
        "A container gets a copy of its image, or the layers are merged for it.",
        "A container starts from an image of two layers, with 4 MiB in them. How much of that is copied?",
        {"4 MiB": LARGE, "nothing": 0},
        copied_at_the_start,
    ),
    "deleting-shrinks-an-image": Belief(
        "To delete a file of a lower layer makes the image smaller.",
        "An image has a file of 4 MiB. A further layer deletes it. How much smaller are all its layers together?",
        {"by 4 MiB": LARGE, "not at all": 0},
        saved_by_deleting,
    ),
    "chmod-is-free": Belief(
        "Who changes only a mode or an owner writes no data.",
        "A file of 4 MiB is in a lower layer. In the container you change its mode, and nothing else. How much is copied?",
        {"nothing, the content is the same": 0, "all 4 MiB": LARGE},
        copied_by_chmod,
    ),
}  # fmt: skip
