"""The learner's own copies of the lessons, and the index that they begin with.

What they have changed is theirs, and nothing here ever writes over it. What they have not changed follows the library: so
a corrected lesson reaches them. Which is which, a file in their folder says: it holds a hash of each file as it was written.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from scratchlab.errors import HostError
from scratchlab.lessons import shelf
from scratchlab.lessons.notebook import ROOT_VM, Notebook, stored, students
from scratchlab.lessons.shelf import Stored
from scratchlab.lessons.tracks import TRACKS, Track, minutes

INDEX = "index.md"
_WRITTEN = ".scratchlab.json"

_INDEX = """\
# Scratchlab

Build a container around a process, one kernel call at a time, and see what the kernel changes.

Click a lesson to open it, and run its cells from the top with **Shift-Enter**. It asks you to guess before it shows. These
copies are yours: write into them what you like. The upper right corner of a lesson says where its cells run. In
*Scratchlab (root VM)* you are root of a small machine of your own, which you cannot break for long: **Kernel > Restart Kernel**
gives you a clean one in a second.

## Ways through

| if you have | you learn | lessons | time |
|---|---|---|---|
{tracks}

## All lessons

| lesson | minutes |
|---|---|
{lessons}

To watch the machine of an open lesson from a second side, take **File > New > Terminal** and say, for lesson 2:

    scratchlab vm shell --notebook 02
"""


class Copied(NamedTuple):
    """What became of the files in a learner's folder, by their names."""

    folder: Path
    new: list[str]
    renewed: list[str]  # never changed by the learner, and the library has another version
    kept: list[str]  # changed by the learner, while the library has another version

    def __repr__(self) -> str:
        parts = {"new": self.new, "brought up to date": self.renewed}
        counts = [f"{len(names)} {what}" for what, names in parts.items() if names]
        return f"{self.folder}" + (f" ({', '.join(counts)})" if counts else "")


def copy_to(folder: Path) -> Copied:
    """Bring a learner's folder up to date. Raises HostError."""
    copied = Copied(folder, [], [], [])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = _read(folder / _WRITTEN)
        now = contents()
        for name, text in now.items():
            _bring(copied, name, text, before.get(name, ""))
        mine = {name: before[name] for name in copied.kept if name in before}
        _write(folder / _WRITTEN, json.dumps({name: _mark(text) for name, text in now.items()} | mine, indent=1) + "\n")
    except OSError as error:
        raise HostError(f"cannot write your lessons to {folder}: {error.strerror}", "name another folder: --folder DIR") from None
    return copied


def _bring(copied: Copied, name: str, text: str, before: str) -> None:
    place = copied.folder / name
    if not os.path.lexists(place):
        copied.new.append(name)
    elif (mark := _mark(place.read_text(encoding="utf-8", errors="replace"))) == _mark(text):
        return
    elif mark == before:
        copied.renewed.append(name)
    else:
        # The one file that we wrote is the learner's now. If there is none newer, there is nothing to say of it.
        copied.kept.extend([name] if before != _mark(text) else [])
        return
    _write(place, text)


def contents() -> dict[str, str]:
    """All files of a learner's folder, by name."""
    lessons = shelf.lessons()
    following = [*lessons[1:], None]
    return {INDEX: index(lessons)} | {
        lesson.path.name: handed_out(lesson.read(), after) for lesson, after in zip(lessons, following, strict=True)
    }


def handed_out(notebook: Notebook, after: Stored | None) -> str:
    """A lesson for a learner: nothing given away, for the root VM, and at its end where to go on."""
    bare = students(notebook)
    onward = f"**Next:** {after.link}, {after.minutes} minutes. " if after else "**That was the last lesson.** "
    cell = {"cell_type": "markdown", "source": f"{onward}All lessons are in the [index]({INDEX})."}
    return stored({**bare, "cells": [*bare["cells"], cell]}, ROOT_VM)


def index(lessons: Sequence[Stored]) -> str:
    """The page that a learner begins with, in Markdown."""
    tracks = [_row(track, found) for track in TRACKS if (found := track.lessons(lessons))]
    rows = [f"| {lesson.link} | {lesson.minutes} |" for lesson in lessons]
    return _INDEX.format(tracks="\n".join(tracks), lessons="\n".join(rows))


def _row(track: Track, lessons: Sequence[Stored]) -> str:
    links = " ".join(f"[{int(lesson.number)}]({lesson.path.name})" for lesson in lessons)
    return f"| **{track.name}** | {track.promise} | {links} | {_time(minutes(lessons))} |"


def _time(minutes: int) -> str:
    hours, rest = divmod(minutes, 60)
    return " ".join([f"{hours} h"] * bool(hours) + [f"{rest} min"] * bool(rest))


def _mark(text: str) -> str:
    """A hash; of a notebook, of its cells alone: to open it is enough for JupyterLab to write other things into it."""
    with suppress(ValueError, TypeError, KeyError, AttributeError):  # the index, or no notebook any more
        text = stored(json.loads(text))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: Path) -> dict[str, str]:
    """What was written before; nothing, where that is not known any more: then all that is there is the learner's."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _write(path: Path, text: str) -> None:
    """All at once: whoever ends us leaves the old file or the new one."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_bytes(text.encode())
    aside.replace(path)
