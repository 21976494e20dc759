"""The lessons, as the front page lists them, and which of them are about a name of the library."""

import re
from functools import cache

from scratchlab.lessons import shelf
from scratchlab.lessons.notebook import source
from scratchlab.lessons.shelf import Stored
from scratchlab.lessons.tracks import TRACKS, minutes
from tools.pages.markdown import table


def pages() -> dict[str, str]:
    """The tables of lessons and of tracks, to be included."""
    lessons = shelf.lessons()
    rows = [(link(lesson, "/lessons"), str(lesson.minutes)) for lesson in lessons]
    tracks = [(track, track.lessons(lessons)) for track in TRACKS]
    ways = [
        (track.name, track.promise, " ".join(_number(each) for each in found), str(minutes(found))) for track, found in tracks
    ]
    return {
        "lessons/table.txt": table(("lesson", "minutes"), rows) + "\n",
        "lessons/tracks.txt": table(("track", "you learn", "lessons", "minutes"), ways) + "\n",
    }


def link(lesson: Stored, folder: str) -> str:
    """A link to a lesson from where its folder is called so."""
    return f"[{int(lesson.number)}. {lesson.title}]({folder}/{lesson.path.name})"


def _number(lesson: Stored) -> str:
    return f"[{int(lesson.number)}](/lessons/{lesson.path.name})"


def about(name: str) -> list[str]:
    """Links to the lessons whose cells use a name of the library, such as `stages.pivot`, from a page beside the lessons."""
    return [link(lesson, "../lessons") for lesson in shelf.lessons() if re.search(rf"\b{re.escape(name)}\b", _code(lesson))]


@cache
def _code(lesson: Stored) -> str:
    return "\n".join(source(cell) for cell in lesson.read()["cells"] if cell["cell_type"] == "code")


def linked(text: str) -> str:
    """A text in which `Lesson 7.` is a link to that lesson, once it is there."""
    names = {int(lesson.number): lesson.path.name for lesson in shelf.lessons()}
    return re.sub(r"\bLesson (\d+)(?=\.)", lambda found: _linked(found[0], names.get(int(found[1]))), text)


def _linked(words: str, name: str | None) -> str:
    return f"[{words}](lessons/{name})" if name else words
