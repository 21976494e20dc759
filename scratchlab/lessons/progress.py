"""How far a learner has come: a file in their own data directory, and no server.

{"07": {"exercises": ["die-properly"], "guesses": [3, 5]}}      3 right of 5
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from scratchlab.errors import HostError

Record = dict[str, dict[str, Any]]


def path() -> Path:
    """Where it is kept.  XDG Base Directory Specification"""
    home = os.environ.get("XDG_DATA_HOME", "")
    data = Path(home) if os.path.isabs(home) else Path.home() / ".local/share"  # a relative one must be ignored
    return data / "scratchlab/progress.json"


def read() -> Record:
    """What is written there; nothing, where there is no such file, or one that nobody can read."""
    try:
        found = json.loads(path().read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and all(isinstance(entry, dict) for entry in found.values()) else {}


def solved(number: str, exercise: str) -> None:
    """Write down that an exercise is done."""
    with _changing(number) as entry:
        entry["exercises"] = sorted({*entry.get("exercises", []), exercise})


def guessed(number: str, right: bool) -> None:
    """Write down a guess."""
    with _changing(number) as entry:
        good, all_of_them = entry.get("guesses", [0, 0])
        entry["guesses"] = [good + right, all_of_them + 1]


@contextmanager
def _changing(number: str) -> Iterator[dict[str, Any]]:
    place = path()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        # Two notebooks may be open: one waits for the other, and neither ever reads half a file.
        with open(place.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            record = read()
            yield record.setdefault(number, {})
            aside = place.with_suffix(".new")
            aside.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
            aside.replace(place)
    except OSError as error:
        raise HostError(
            f"your progress cannot be written to {place}: {error.strerror}", "set XDG_DATA_HOME to a directory of your own"
        ) from None


class Progress(NamedTuple):
    """The lessons with what was done in each."""

    rows: tuple[tuple[str, str, int, int, int, int], ...]  # number, title, exercises done, of all, guesses right, of all

    def __repr__(self) -> str:
        lines = [
            f"{number}  {title:32}  {done} of {count} exercises" + (f", {right} of {guesses} guesses right" if guesses else "")
            for number, title, done, count, right, guesses in self.rows
        ]
        return "\n".join(lines)
