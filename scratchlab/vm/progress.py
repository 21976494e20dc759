"""How a long build shows on a terminal: what is done now, how much of it, and in which units."""

import sys
from collections.abc import Callable

# What is being done, how much is done, and of how much; in bytes where the numbers are large.
Progress = Callable[[str, int, int], None]

_WIDTH = 24


def silent(_what: str, _done: int, _total: int) -> None:
    """Show nothing."""


def bar(what: str, done: int, total: int) -> None:
    """One line on the terminal, written over itself; the last of its kind stays. No words: an empty line."""
    part = min(done / total, 1.0) if total else 0.0
    filled = round(part * _WIDTH)
    amount = f"{done / 1e6:5.1f} of {total / 1e6:.1f} MB" if total > 100_000 else f"{done} of {total}"
    end = "\n" if total and done >= total else ""
    shown = f"{what:12} {'█' * filled}{'░' * (_WIDTH - filled)} {amount}" if total else what
    print(f"\r\x1b[K{shown}", end=end, file=sys.stderr, flush=True)


def for_terminal() -> Progress:
    """A bar if somebody watches, else nothing."""
    return bar if sys.stderr.isatty() else silent
