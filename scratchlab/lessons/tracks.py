"""Ways through the course, for those who have not the time for all of it. How long each takes, the lessons themselves say."""

from collections.abc import Sequence
from typing import NamedTuple

from scratchlab.lessons.shelf import Stored


class Track(NamedTuple):
    """Some lessons, in order."""

    name: str
    promise: str  # what one can do or say at its end
    numbers: tuple[str, ...]
    at_most: int = 0  # minutes, where its name promises a time

    def lessons(self, stored: Sequence[Stored]) -> list[Stored]:
        """Its lessons, as far as they exist."""
        return [lesson for lesson in stored if lesson.number in self.numbers]


def minutes(lessons: Sequence[Stored]) -> int:
    """How long some lessons take together."""
    return sum(lesson.minutes for lesson in lessons)


TRACKS = (
    Track("Two hours", "what a container is, and that it is a process", ("02", "07", "11"), 120),
    Track("Half a day", "a container by hand, and what each part is for", ("01", "02", "04", "07", "09", "11", "16"), 270),
    Track("Security", "what each wall stops, and what gets past it", ("02", "04", "07", "08", "09", "13", "14", "15", "16")),
    Track("The course", "all of it", tuple(f"{number:02}" for number in range(19))),
)
