"""How a command ended, and what it said: the same for a command in a sandbox and for one in a virtual machine."""

import signal
from collections.abc import Callable
from typing import Any, NamedTuple

KEEP = 16 << 20  # bytes of output that are kept of each stream: the first and the last half of it

_FIRST_REALTIME = 34  # SIGRTMIN of the C library, which keeps the two before it for itself

Sink = Callable[[str], Any]


class Finished(NamedTuple):
    """How a command ended, and what it said."""

    argv: tuple[str, ...]
    status: int | None  # the exit status, or None if a signal ended it
    signal: str | None  # "SIGKILL", or None if it ended by itself
    out: str  # standard output without the last newline
    err: str  # standard error likewise
    timed_out: bool = False
    dropped: int = 0  # bytes in the middle of a very long output that were not kept
    note: str = ""  # what the host knows about the ending, such as that memory ran out
    notes: tuple[str, ...] = ()  # what its container lacked, and why

    @property
    def ok(self) -> bool:
        """Whether it ended by itself, with status 0."""
        return self.status == 0

    @property
    def lines(self) -> list[str]:
        """Standard output, line by line."""
        return self.out.splitlines()

    @property
    def code(self) -> int:
        """The ending as a shell's `$?`: the status, or 128 + the signal's number."""
        return self.status if self.status is not None else 128 + signal_number(self.signal or "SIGKILL")

    def __repr__(self) -> str:
        ending = "" if self.ok else f"[{' '.join(self.argv)}: {self._ending()}]"
        return "\n".join(text for text in (self.out, self.err, ending) if text) or "[no output]"

    def _ending(self) -> str:
        how = self.note or (f"status {self.status}" if self.signal is None else f"killed by {self.signal}")
        return f"out of time, {how}" if self.timed_out else how


def signal_name(number: int) -> str:
    """SIGKILL for 9; the many without a name of their own count from SIGRTMIN.  signal(7)"""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN{number - _FIRST_REALTIME:+}"


def signal_number(name: str) -> int:
    """What `signal_name` has named."""
    return signal.Signals[name] if name in signal.Signals.__members__ else _FIRST_REALTIME + int(name.removeprefix("SIGRTMIN"))


class Kept:
    """What is kept of one stream: everything, or the first and the last half of KEEP."""

    def __init__(self, sink: Sink | None) -> None:
        self._head, self._tail = bytearray(), bytearray()
        self._sink = sink
        self.dropped = 0

    def add(self, data: bytes) -> None:
        """Take one piece."""
        if self._sink:
            self._sink(data.decode(errors="replace"))
        room = KEEP // 2 - len(self._head)
        self._head += data[:room]
        self._tail += data[max(room, 0) :]
        # Cut seldom, by half a buffer at a time: cutting at every piece would copy the tail for each.
        if len(self._tail) > KEEP:
            self.dropped += len(self._tail) - KEEP // 2
            del self._tail[: -KEEP // 2]

    def text(self) -> str:
        """All that was kept, with a line that says what is missing."""
        gap = f"\n[… {self.dropped} bytes dropped …]\n".encode() if self.dropped else b""
        return (self._head + gap + self._tail).decode(errors="replace").removesuffix("\n")
