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
from pathlib import Path
from typing import Any

from scratchlab.vm.guest.frames import NEXT_FILE

# Before pytest captures what tests write.
_answers, _asks = os.dup(0), os.dup(2)


def pytest_collection(session: Any) -> bool:
    """Collect nothing yet."""
    return session is not None


def pytest_runtestloop(session: Any) -> bool:
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


def _items(session: Any) -> Iterator[Any]:
    all_of_them = files(session.config)
    collected = 0
    for number in map(_dealt, count()):
        if number >= len(all_of_them):
            return
        items = _collect(session, all_of_them[number])
        collected += len(items)
        session.testscollected = collected
        yield from items


def _dealt(_: int) -> int:
    os.write(_asks, NEXT_FILE)
    said = b""
    while not said.endswith(b"\n"):
        said += os.read(_answers, 16)
    return int(said)


def _collect(session: Any, name: str) -> list[Any]:
    loudness = session.config.option.verbose
    session.config.option.verbose = -1  # or each file would be announced
    try:
        return list(session.perform_collect([name]))
    finally:
        session.config.option.verbose = loudness


def files(config: Any) -> list[str]:
    """The test files that pytest was asked for: what may take long first, so that the guests finish together."""
    ignored = [str((config.invocation_params.dir / name).resolve()) for name in config.getoption("ignore") or []]
    found: dict[str, int] = {}
    for word in config.args:
        place = config.invocation_params.dir / word.partition("::")[0]
        for path in sorted(place.rglob("test_*.py")) if place.is_dir() else [place]:
            if not any(path.resolve().is_relative_to(other) for other in ignored):
                found[word if place == path else str(path)] = _weight(path)
    return sorted(found, key=lambda name: -found[name])


def _weight(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
