"""Running a command in a sandbox from outside: feed it, collect or stream what it says, end it in time."""

import json
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from scratchlab.errors import GoneError, InputError

KEEP = 16 << 20  # bytes of output that are kept of each stream: the first and the last half of it
GRACE = 2.0  # seconds between SIGTERM and SIGKILL
_CHUNK = 1 << 16

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

    @classmethod
    def of(cls, argv: tuple[str, ...], ending: Mapping[str, int], talk: "Conversation", timed_out: bool) -> "Finished":
        """Put together how a command ended, {"exit": 0} or {"signal": 9}, and what came through its pipes."""
        number = ending.get("signal")
        name = None if number is None else signal.Signals(number).name
        dropped = talk.out.dropped + talk.err.dropped
        return cls(argv, ending.get("exit"), name, talk.out.text(), talk.err.text(), timed_out, dropped)

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
        return self.status if self.status is not None else 128 + signal.Signals[self.signal or "SIGKILL"]

    def __repr__(self) -> str:
        ending = "" if self.ok else f"[{' '.join(self.argv)}: {self._ending()}]"
        return "\n".join(text for text in (self.out, self.err, ending) if text) or "[no output]"

    def _ending(self) -> str:
        how = self.note or (f"status {self.status}" if self.signal is None else f"killed by {self.signal}")
        return f"out of time, {how}" if self.timed_out else how


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


class Conversation:
    """The pipes of one running command, and the clock."""

    def __init__(self, stdin: bytes, sinks: tuple[Sink | None, Sink | None]) -> None:
        self.theirs: list[int] = []  # input, output, error, status: for the agent
        self._input = stdin
        self._reads: dict[int, Kept] = {}
        self.out, self.err = (self._add_output(sink) for sink in sinks)
        reader, writer = os.pipe()
        self._stdin: int | None = writer
        os.set_blocking(writer, False)
        self.theirs.insert(0, reader)
        self._status, writer = os.pipe()
        self.theirs.append(writer)

    def _add_output(self, sink: Sink | None) -> Kept:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        self.theirs.append(writer)
        self._reads[reader] = Kept(sink)
        return self._reads[reader]

    def close(self, fds: list[int] | None = None) -> None:
        """Close their ends, once the agent has them, or all of ours."""
        ours = [*self._reads, self._status] + ([self._stdin] if self._stdin is not None else [])
        for fd in ours if fds is None else fds:
            os.close(fd)

    def until_ended(self, deadline: float | None) -> dict[str, int] | None:
        """Move bytes both ways until the command has ended. Gives its ending, or None if the deadline came first.

        A daemon that the command left behind may hold the pipes open for ever; what counts is that the command is gone.
        """
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if self._status in self._move(left) and (ending := self._ending()):
                while self._move(0.0) & set(self._reads):
                    pass  # what was said before the end is in the pipes still
                return ending
            if left == 0.0:
                return None

    def _move(self, timeout: float | None) -> set[int]:
        """Wait for the pipes, and move what can be moved. Gives those that had something to read."""
        poll = select.poll()
        for fd in (*self._reads, self._status):
            poll.register(fd, select.POLLIN)
        if self._stdin is not None:
            poll.register(self._stdin, select.POLLOUT)
        ready = {fd for fd, _ in poll.poll(None if timeout is None else timeout * 1000)}
        if self._stdin in ready:
            self._write()
        return {fd for fd in ready if fd == self._status or (fd in self._reads and self._read(fd))}

    def _read(self, fd: int) -> bool:
        data = os.read(fd, _CHUNK)
        if data:
            self._reads[fd].add(data)
        else:
            del self._reads[fd]
            os.close(fd)
        return bool(data)

    def _write(self) -> None:
        assert self._stdin is not None
        try:
            self._input = self._input[os.write(self._stdin, self._input[:_CHUNK]) :] if self._input else b""
        except BrokenPipeError:  # it does not read to the end: its right
            self._input = b""
        if not self._input:
            os.close(self._stdin)
            self._stdin = None

    def _ending(self) -> dict[str, int] | None:
        """How the command ended, or None if it was only stopped."""
        lines = os.read(self._status, 4096).splitlines()
        if not lines:
            raise GoneError(
                "the sandbox died while a command ran in it, or became pid 1 of a new namespace, with the command left outside",
                "make a new Sandbox; apply unshare_pid while nothing runs",
            )
        last: dict[str, int] = json.loads(lines[-1])
        return None if "stopped" in last else last


def printer(stream: Any) -> Sink:
    """A sink that prints through Python's own stream, looked up now: in a notebook that is the cell's output."""
    return lambda text: print(text, end="", file=stream, flush=True)


def check_argv(argv: tuple[str, ...]) -> None:
    """Refuse what is no command. Raises InputError."""
    if not argv or not all(isinstance(word, str) for word in argv):
        raise InputError(f"{argv!r} is not a command", 'give its words: box.run("ls", "-l", "/")')
    if any("\0" in word for word in argv):
        raise InputError(f"{argv!r}: a word of a command cannot hold a NUL character")
