"""The notebooks as they are stored, with outputs and solutions: in a wheel beside this file, in a checkout at its top.

Nothing here needs Linux: a learner's copies are made on any system.
"""

import json
import re
from pathlib import Path
from typing import NamedTuple

from scratchlab.errors import HostError
from scratchlab.lessons.notebook import Notebook, source

_HEAD = re.compile(r"# \d+\. (?P<title>.+)\n\n\*\*(?P<minutes>\d+) minutes\.\*\*")


class Stored(NamedTuple):
    """A lesson's notebook."""

    path: Path
    title: str
    minutes: int

    @property
    def number(self) -> str:
        """Two digits, which its name begins with."""
        return self.path.name[:2]

    @property
    def link(self) -> str:
        """A link to it, in Markdown, for what lies beside it."""
        return f"[{int(self.number)}. {self.title}]({self.path.name})"

    def read(self) -> Notebook:
        """The notebook itself."""
        return _read(self.path)


def folder() -> Path:
    """Where they are. Raises HostError."""
    places = [Path(__file__).with_name("notebooks"), Path(__file__).parents[2] / "notebooks"]
    for place in places:
        if place.is_dir():
            return place
    raise HostError(f"the lessons are not where they ought to be: {places[0]}", "install scratchlab again")


def lessons() -> list[Stored]:
    """All lessons, in order."""
    return [_stored(path) for path in sorted(folder().glob("[0-9][0-9]-*.ipynb"))]


def _stored(path: Path) -> Stored:
    """What the first cell says: the title, and how long it takes."""
    head = _HEAD.match(source(_read(path)["cells"][0]))
    if not head:
        raise HostError(f"{path.name} does not begin as a lesson does", "compare with another one")
    return Stored(path, head["title"], int(head["minutes"]))


def _read(path: Path) -> Notebook:
    notebook: Notebook = json.loads(path.read_text(encoding="utf-8"))
    return notebook
