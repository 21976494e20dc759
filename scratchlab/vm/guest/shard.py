"""A pytest plugin: of all tests, only this guest's share. Modules stay whole, since their fixtures may be dear.

SCRATCHLAB_SHARD=1/3 is the first of three. All guests collect the same tests, and divide them in the same way.
"""

import os
from collections import Counter
from typing import Any


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Leave out what other guests do."""
    number, _, count = os.environ.get("SCRATCHLAB_SHARD", "1/1").partition("/")
    mine = share(Counter(item.path.as_posix() for item in items), int(count))[int(number) - 1]
    config.hook.pytest_deselected(items=[item for item in items if item.path.as_posix() not in mine])
    items[:] = [item for item in items if item.path.as_posix() in mine]


def share(modules: dict[str, int], count: int) -> list[set[str]]:
    """Divide modules, each with its number of tests, into shares of about the same size."""
    shares: list[set[str]] = [set() for _ in range(count)]
    sizes = [0] * count
    for name, size in sorted(modules.items(), key=lambda pair: (-pair[1], pair[0])):
        smallest = sizes.index(min(sizes))
        shares[smallest].add(name)
        sizes[smallest] += size
    return shares
