"""How far a learner has come: a file in their own data directory, and no server.

{"07": {"exercises": ["die-properly"], "guesses": [3, 5]}}      3 right of 5

A lesson that runs in a virtual machine has a copy there, and what is added to it is added here, too: `take_over`.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from scratchlab.errors import HostError

Record = dict[str, dict[str, Any]]


def path() -> Path:
    """Where it is kept.  XDG Base Directory Specification"""
    home = os.environ.get("XDG_DATA_HOME", "")
    data = Path(home) if os.path.isabs(home) else Path.home() / ".local/share"  # a relative one must be ignored
    return data / "scratchlab/progress.json"


def read() -> Record:
    """What is written there, as far as it is what it should be."""
    try:
        found = json.loads(path().read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return {number: _sound(entry) for number, entry in found.items()} if isinstance(found, dict) else {}


def _sound(entry: Any) -> dict[str, Any]:
    """One lesson's entry, in which what is written by hand is of the kind that it should be."""
    if not isinstance(entry, dict):
        return {}
    sound = {"exercises": sorted({*_exercises(entry)}), "guesses": list(_guesses(entry))}
    return {**entry, **{key: value for key, value in sound.items() if key in entry}}


def solved(number: str, exercise: str) -> None:
    """Write down that an exercise is done."""
    with _changing(number) as entry:
        entry["exercises"] = sorted({*entry.get("exercises", []), exercise})


def guessed(number: str, right: bool) -> None:
    """Write down a guess."""
    with _changing(number) as entry:
        good, all_of_them = entry.get("guesses", [0, 0])
        entry["guesses"] = [good + right, all_of_them + 1]


def take_over(before: Record, after: Record) -> None:
    """Add what was done elsewhere, between two records from there, as far as it is what it should be."""
    for number, entry in after.items():
        exercises = {name for name in _exercises(entry) if re.fullmatch(r"[a-z0-9-]{1,60}", name)}
        good, of = (max(0, now - then) for now, then in zip(_guesses(entry), _guesses(before.get(number, {})), strict=True))
        if re.fullmatch("[0-9]{2}", number) and (exercises or of) and good <= of:
            with _changing(number) as own:
                own["exercises"] = sorted({*own.get("exercises", []), *exercises})
                own["guesses"] = [mine + more for mine, more in zip(own.get("guesses", [0, 0]), (good, of), strict=True)]


def _exercises(entry: Any) -> list[str]:
    names = entry.get("exercises", []) if isinstance(entry, dict) else []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _guesses(entry: Any) -> tuple[int, int]:
    said = entry.get("guesses", [0, 0]) if isinstance(entry, dict) else [0, 0]
    usual = isinstance(said, list) and len(said) == 2 and all(type(number) is int and 0 <= number < 10**6 for number in said)
    return (said[0], said[1]) if usual else (0, 0)


@contextmanager
def _changing(number: str) -> Iterator[dict[str, Any]]:
    place = path()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        # Two notebooks may be open: one waits for the other, and neither ever reads half a file.
        with open(place.with_suffix(".lock"), "w") as lock:
            _lock(lock)
            record = read()
            yield record.setdefault(number, {})
            aside = place.with_suffix(".new")
            aside.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
            aside.replace(place)
    except OSError as error:
        raise HostError(
            f"your progress cannot be written to {place}: {error.strerror}", "set XDG_DATA_HOME to a directory of your own"
        ) from None


def _lock(file: IO[str]) -> None:
    try:
        import fcntl
    except ImportError:  # not this system's: then the second to write within a moment wins
        return
    fcntl.flock(file, fcntl.LOCK_EX)


class Progress(NamedTuple):
    """The lessons with what was done in each."""

    rows: tuple[tuple[str, str, int, int, int, int], ...]  # number, title, exercises done, of all, guesses right, of all

    def __repr__(self) -> str:
        lines = [
            f"{number}  {title:32}  {done} of {count} exercises" + (f", {right} of {guesses} guesses right" if guesses else "")
            for number, title, done, count, right, guesses in self.rows
        ]
        return "\n".join(lines)
