"""Lesson 5, copy-on-write: a layer is a difference, and an image is a stack of them."""

import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scratchlab import stages
from scratchlab.errors import ScratchlabError
from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.outline import Outline
from scratchlab.rootfs.layer import unpack
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step

PRIVATE = (step(stages.unshare_mount), step(stages.private_mounts))


@contextmanager
def written(place: Path, name: str, lower: list[str], script: str) -> Iterator[tuple[Sandbox, Path]]:
    """Let a shell change what these layers show: the difference is in the directory `name` then."""
    upper, work, merged = (place / part for part in (name, f"{name}.work", f"{name}.merged"))
    for directory in (upper, work, merged):
        directory.mkdir()
    with Sandbox("exercise") as box:
        box.play([*PRIVATE, step(stages.overlay, lower, str(upper), str(work), str(merged))])
        box.run("sh", "-c", script, cwd=str(merged))
        yield box, merged


# -- looking up -------------------------------------------------------------------------------------------------------

# What was done in each layer, the lowest first.
LAYERS = {
    "base": "mkdir etc usr var; for file in alone twice etc/hosts usr/motd var/log; do echo base > $file; done",
    "middle": "echo middle > twice; echo middle > added; rm usr/motd; rm -r var; echo middle > etc/hosts",
    "top": "rm -r etc; mkdir etc; echo top > etc/resolv",
}
PATHS = ("alone", "added", "twice", "usr/motd", "var/log", "etc/hosts", "etc/resolv")


def looking_up(answer: Answer) -> Facts:
    """At which paths the answer finds something else than the kernel shows, and what."""
    with TemporaryDirectory() as folder:
        place, layers = Path(folder), [f"{folder}/nothing"]
        os.mkdir(layers[0])
        for name, script in LAYERS.items():
            with written(place, name, layers, script):
                layers = [f"{folder}/{name}", *layers]
        with written(place, "seen", layers[:-1], ":") as (box, merged):
            shown = {path: box.run("cat", f"{merged}/{path}").out for path in PATHS}
        found = {path: _said(answer(layers[:-1], path)) for path in PATHS}
    return {path: found[path] or "nothing" for path in PATHS if found[path] != shown[path]}


def _said(path: object) -> str:
    """What is in the file that an answer gave; nothing for None, as cat(1) says nothing of what is not there."""
    if path is None:
        return ""
    is_file = isinstance(path, str | Path) and os.path.isfile(path)
    return Path(str(path)).read_text().strip() if is_file else "something that is no file"


def look_up(layers: list[str], path: str) -> str | None:
    """Down the stack, and in each layer along the path: who hides what?"""
    for layer in layers:
        place, is_last = layer, False
        for part in path.split("/"):
            place = f"{place}/{part}"
            if not os.path.lexists(place):
                break
            status = os.lstat(place)
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                return None
            is_last = is_last or not os.path.isdir(place) or "trusted.overlay.opaque" in os.listxattr(place)
        else:
            return place
        if is_last:
            return None
    return None


def _wrong_at(*paths: str) -> Any:
    """What an answer has found at the first of these paths where the kernel shows something else."""

    def wrong(facts: Facts) -> str:
        return next((f"at {path} it finds {facts[path]}; the kernel does not" for path in paths if path in facts), "")

    return wrong


LOOK_UP = Exercise(
    "look-up",
    answer="look_up",
    ask="""
    Write `look_up(layers, path)`. The layers are directories, the top one first, as overlayfs has left them; the path is
    relative, such as "etc/hosts". Give the path of the file that an overlay of these layers shows there, or None.
    """,
    observe=looking_up,
    claims=(
        Claim(
            "a file is found in whichever layer it is",
            _wrong_at("alone", "added"),
            ("Which of the layers may hold it?", 'Go through the layers, and look whether f"{layer}/{path}" is there.'),
        ),
        Claim(
            "an upper layer hides a lower one",
            _wrong_at("twice"),
            ("Two layers have the file twice. Which of them is above, in the list and in the overlay?", "The first one wins."),
        ),
        Claim(
            "what was deleted is not found",
            _wrong_at("usr/motd"),
            (
                "What does the middle layer hold at usr/motd? Print os.stat of it.",
                "Path(…).is_char_device() tells a whiteout. It is an answer, too: the layers below are not asked.",
            ),
        ),
        Claim(
            "nor what was in a directory that was deleted",
            _wrong_at("var/log"),
            (
                "The middle layer has nothing at var/log. What does it have at var?",
                "Walk along the path, one part after the other: any of them may be a whiteout.",
            ),
        ),
        Claim(
            "a directory that was made anew shows what is in it, and nothing of the old one",
            _wrong_at("etc/resolv", "etc/hosts"),
            (
                "How does the top layer say that its etc is another one than below? Print os.listxattr of it.",
                "Opaque is said of a directory. It ends the search in the layers below, not the one in its own.",
            ),
        ),
    ),
    solution=look_up,
)

# -- committing -------------------------------------------------------------------------------------------------------

BASE = "mkdir old deep; for file in same edited mode gone old/one deep/gone; do echo base > $file; done"
CHANGES = "echo new > added; echo new > edited; chmod 600 mode; rm gone deep/gone; rm -r old; mkdir old; echo new > old/two"


def committing(answer: Answer) -> Facts:
    """Let the answer write a layer, unpack it over what was there before, and compare with what the container saw."""
    with TemporaryDirectory() as folder:
        place, tar = Path(folder), f"{folder}/layer.tar"
        (place / "nothing").mkdir()
        with written(place, "base", [f"{folder}/nothing"], BASE):
            pass
        with written(place, "upper", [f"{folder}/base"], CHANGES) as (box, merged):
            wanted = box.play([step(tree, str(merged))])[0]["value"]
        answer(f"{folder}/upper", tar)
        shutil.copytree(place / "base", place / "again")
        try:
            unpacked = unpack(tar, place / "again")
        except ScratchlabError as error:
            return {"unreadable": error.message}
        got = tree(f"{folder}/again")
    return {
        "unreadable": "",
        "differs": [path for path in wanted if got.get(path) != wanted[path]],
        "left": [path for path in got if path not in wanted],
        "devices": list(unpacked.left_out),
    }


def tree(directory: str) -> dict[str, list[str]]:
    """What is below a directory: modes, and the contents of files."""
    paths = sorted(Path(directory).rglob("*"))
    return {
        str(path.relative_to(directory)): [oct(path.stat().st_mode), path.read_text() if path.is_file() else ""] for path in paths
    }


def commit(upper: str, tar: str) -> None:
    """A layer for everybody: whiteouts and opaque directories are names in it, because a tar has no word for either."""
    with tarfile.open(tar, "w") as layer:
        for path in sorted(Path(upper).rglob("*")):
            name, status = path.relative_to(upper), path.lstat()
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:  # and no link to /dev/null
                layer.addfile(tarfile.TarInfo(str(name.with_name(f".wh.{name.name}"))))
                continue
            layer.add(path, str(name), recursive=False)
            if stat.S_ISDIR(status.st_mode) and "trusted.overlay.opaque" in os.listxattr(path):
                layer.addfile(tarfile.TarInfo(f"{name}/.wh..wh..opq"))


def _still_there(*paths: str) -> Any:
    return lambda facts: "".join(f"{path} is there again" for path in facts["left"][:1] if path in paths)


COMMIT = Exercise(
    "commit",
    answer="commit",
    ask="""
    Write `commit(upper, tar)`. It makes a layer of an image from the upper directory of a container: a tar file that says
    the same on any machine. In a tar, a whiteout for `gone` is an empty file called `.wh.gone` in the same directory;
    and a directory that hides all that was in it before holds an empty file called `.wh..wh..opq`.
    """,
    observe=committing,
    claims=(
        Claim(
            "it is a tar that can be unpacked",
            lambda facts: facts["unreadable"],
            ("Which module of Python writes tar files?", 'tarfile.open(tar, "w"), and its method add.'),
        ),
        Claim(
            "what the container has made or changed is in it",
            lambda facts: f"not as the container saw it: {', '.join(facts['differs'])}" if facts["differs"] else "",
            (
                "Under which names are the files in your tar? Print TarFile.getnames().",
                "A name in a layer begins at the root of the container: the path relative to `upper`.",
            ),
        ),
        Claim(
            "what it has deleted is taken away",
            _still_there("gone", "deep/gone"),
            (
                "What does `upper` hold for a file that was deleted, and what is in your tar for it?",
                "An empty file: layer.addfile(tarfile.TarInfo(name)). Its name has a directory part, too.",
            ),
        ),
        Claim(
            "a directory that was made anew has nothing of the old one",
            _still_there("old/one"),
            (
                "What is special about the directory `old` in `upper`? Print os.listxattr of it.",
                "An opaque directory gets one more empty file, which lies in it.",
            ),
        ),
        Claim(
            "no device is in it",
            lambda facts: f"whoever unpacks it gets devices: {', '.join(facts['devices'])}" if facts["devices"] else "",
            (
                "What becomes of the whiteout itself?",
                "Either the device or the name that stands for it; a tar for others has no devices.",
            ),
        ),
    ),
    solution=commit,
)

OUTLINE = Outline("Copy-on-write: images are diffs", 45, points={"start": (), "private": PRIVATE}, exercises=(LOOK_UP, COMMIT))
