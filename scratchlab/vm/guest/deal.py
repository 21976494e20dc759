"""A pytest plugin: of all test files, those that this guest is dealt, one after the other.

Nobody knows beforehand how long a file takes. So each guest asks the host for another number whenever it is through, on the
standard error and input that it was started with; all guests number the files alike. A guest imports only what it is dealt.

    guest                     host
    "next\\n"  ->
                         <-   "17\\n"      number 17 is this guest's, if there are so many
"""

import os
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from scratchlab.vm.guest.frames import NEXT_FILE

# Before pytest captures what tests write.
_answers, _asks = os.dup(0), os.dup(2)

_places: list[Any] = []  # what pytest was asked for: directories and files, of which none is imported yet


def pytest_collection(session: pytest.Session) -> bool:
    """Find the places, and no tests yet."""
    loudness = session.config.option.verbose
    session.config.option.verbose = -1  # or it would be told that there are none
    session.perform_collect(genitems=False)
    session.config.option.verbose = loudness
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[Any]) -> None:
    """Take the places, before somebody looks for tests among them."""
    if not session.testscollected and not _places:
        _places[:], items[:] = items, []


def pytest_runtestloop(session: pytest.Session) -> bool:
    """Run what we are dealt. Each test is told the next one, so that a fixture which both use stays."""
    items = _items(session)
    item = next(items, None)
    while item:
        following = next(items, None)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail or session.shouldstop:
            raise session.Interrupted(session.shouldfail or session.shouldstop)
        item = following
    return True


def _items(session: pytest.Session) -> Iterator[Any]:
    # What may take long comes first, so that the guests finish together.
    files = sorted((file for place in _places for file in _files(place)), key=lambda file: -file.path.stat().st_size)
    for number in map(_dealt, count()):
        if number >= len(files):
            return
        items = list(session.genitems(files[number]))
        session.config.hook.pytest_collection_modifyitems(session=session, config=session.config, items=items)
        session.testscollected += len(items)
        yield from items


def _files(place: Any) -> Iterator[Any]:
    """The files below a directory; else the place itself, which may be a single test."""
    if isinstance(place, pytest.Directory):
        for child in place.collect():
            yield from _files(child)
    else:
        yield place


def _dealt(_: int) -> int:
    os.write(_asks, NEXT_FILE)
    said = b""
    while not said.endswith(b"\n"):
        said += os.read(_answers, 1)
    return int(said)
