"""What one row of the table is made from, whatever the process."""

from collections.abc import Callable
from typing import Any, NamedTuple

from scratchlab.observe import Snapshot
from scratchlab.peers.orders import Order

Read = Callable[[Snapshot, Snapshot], Any]  # of a process, and of the one that looks
Say = Callable[[Any], str]

HIDDEN = ""  # in place of a snapshot's field: the kernel tells nobody


class Aspect(NamedTuple):
    """One thing to compare: which stage builds it, how it is read and said, and which way is tighter."""

    topic: str
    what: str
    field: str  # of the snapshot, which says why it could not be read
    stages: tuple[str, ...]
    order: Order
    read: Read
    say: Say = str
    means: str = ""  # what the looser side can do


def plain(field: str) -> Read:
    """A field of the snapshot as it is."""
    return lambda process, _host: getattr(process, field)


def listed(words: frozenset[str]) -> str:
    """A set in words."""
    return ", ".join(sorted(words)) or "none"
