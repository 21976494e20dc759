"""A pytest plugin: of all test files, those that this guest is dealt, one after the other.

Nobody knows beforehand how long a file takes. So each guest asks the host for another number whenever it is through, on the
standard error and input that it was started with; all guests number the files alike. A guest imports only what it is dealt.

    guest                     host
    "\\0next\\n"  ->
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

_files: list[Any] = []  # of which none is imported yet


def pytest_collection(session: pytest.Session) -> bool:
    """Find the files, and no tests yet."""
    loudness = session.config.option.verbose
    session.config.option.verbose = -1  # or it would be told that there are none
    session.perform_collect(names(session.config), genitems=False)
    session.config.option.verbose = loudness
    return True


def names(config: pytest.Config) -> list[str]:
    """What pytest was asked for, with all test files of a directory in its place."""
    here = config.invocation_params.dir
    ignored = [here / name for name in config.getoption("ignore") or []]
    found = []
    for word in config.args:
        paths = sorted((here / word).rglob("test_*.py")) if (here / word).is_dir() else []
        found += [str(path) for path in paths if not any(path.is_relative_to(other) for other in ignored)] or [word]
    return found


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[Any]) -> None:
    """Take the files, before somebody looks for tests among them."""
    if not session.testscollected and not _files:
        _files[:], items[:] = items, []


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
    files = sorted(_files, key=lambda file: -file.path.stat().st_size)
    for number in map(_dealt, count()):
        if number >= len(files):
            return
        items = list(session.genitems(files[number]))
        session.config.hook.pytest_collection_modifyitems(session=session, config=session.config, items=items)
        session.testscollected += len(items)
        yield from items


def _dealt(_: int) -> int:
    os.write(_asks, NEXT_FILE)
    said = b""
    while not said.endswith(b"\n"):
        said += os.read(_answers, 1)
    return int(said)
