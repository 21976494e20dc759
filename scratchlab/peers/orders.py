"""Which of two facts is the tighter wall. An order is asked about theirs and ours, and only where the two differ."""

import math
from collections.abc import Callable
from typing import Any

from scratchlab.linux.proc import Limit

# What is said of theirs.
SAME, TIGHTER, LOOSER, OTHER, UNKNOWN = "same", "tighter", "looser", "other", "unknown"

Order = Callable[[Any, Any], str]


def neither(_theirs: object, _ours: object) -> str:
    """Different, and none is the tighter."""
    return OTHER


def having_it(theirs: bool, _ours: bool) -> str:
    """A wall that is there, or is not."""
    return TIGHTER if theirs else LOOSER


def fewer(theirs: frozenset[Any], ours: frozenset[Any]) -> str:
    """A set that gives power: who has only a part of the other's is held tighter."""
    return TIGHTER if theirs < ours else LOOSER if theirs > ours else OTHER


def more(theirs: frozenset[Any], ours: frozenset[Any]) -> str:
    """A set that takes power away."""
    return fewer(ours, theirs)


def less(theirs: float, ours: float) -> str:
    """A limit."""
    return TIGHTER if theirs < ours else LOOSER


def lower_pair(theirs: Limit, ours: Limit) -> str:
    """A soft and a hard limit: tighter is what is above the other in neither."""
    pairs = [(_number(mine), _number(other)) for mine, other in zip(theirs, ours, strict=True)]
    if all(mine <= other for mine, other in pairs):
        return TIGHTER
    return LOOSER if all(mine >= other for mine, other in pairs) else OTHER


def _number(text: str) -> float:
    return math.inf if text == "unlimited" else int(text)


def not_root(theirs: int | None, ours: int | None) -> str:
    """An id: only root is different from all others."""
    return LOOSER if theirs == 0 else TIGHTER if ours == 0 else OTHER


def ranked(*names: str) -> Order:
    """Names from the loosest to the tightest; what is not among them is just different."""

    def order(theirs: str, ours: str) -> str:
        if theirs not in names or ours not in names:
            return OTHER
        return TIGHTER if names.index(theirs) > names.index(ours) else LOOSER

    return order


stricter_mode = ranked("off", "filter", "strict")
