"""Running a command in a sandbox from outside: feed it, collect or stream what it says, end it in time."""

import fcntl
import os
import select
import struct
import termios
import time
from collections.abc import Mapping
from typing import Any

from scratchlab.errors import GoneError, InputError
from scratchlab.finished import Finished, Kept, Sink, signal_name
from scratchlab.sandbox.answers import ending_of

GRACE = 2.0  # seconds between SIGTERM and SIGKILL
_CHUNK = 1 << 16


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
        """Close their ends, once the agent has them, or all of ours. Done twice, it is done once."""
        if fds is None:
            fds = [*self._reads, *(fd for fd in (self._status, self._stdin) if fd is not None and fd >= 0)]
            # First forgotten: closed twice, a number could be somebody else's file by then.
            self._reads, self._status, self._stdin = {}, -1, None
        while fds:
            os.close(fds.pop())

    def until_ended(self, deadline: float | None) -> dict[str, int] | None:
        """Move bytes both ways until the command has ended. Gives its ending, or None if the deadline came first.

        A daemon that the command left behind may hold the pipes open for ever; what counts is that the command is gone.
        """
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if self._status in self._move(left) and (ending := self._ending()):
                self._drain()
                return ending
            if left == 0.0:
                return None

    def _drain(self) -> None:
        """Take what was said before the end, which is in the pipes still. No more: such a daemon may talk on for ever."""
        for fd in list(self._reads):
            (unread,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))
            while unread > 0:
                unread -= self._read(fd)

    def finished(self, argv: tuple[str, ...], ending: Mapping[str, int], timed_out: bool) -> Finished:
        """Put together how the command ended, {"exit": 0} or {"signal": 9}, and what came through its pipes."""
        number = ending.get("signal")
        name = None if number is None else signal_name(number)
        dropped = self.out.dropped + self.err.dropped
        return Finished(argv, ending.get("exit"), name, self.out.text(), self.err.text(), timed_out, dropped)

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

    def _read(self, fd: int) -> int:
        """Keep one piece; gives its length, 0 at the end."""
        data = os.read(fd, _CHUNK)
        if data:
            self._reads[fd].add(data)
        else:
            del self._reads[fd]
            os.close(fd)
        return len(data)

    def _write(self) -> None:
        assert self._stdin is not None
        try:
            self._input = self._input[os.write(self._stdin, self._input[:_CHUNK]) :] if self._input else b""
        except BrokenPipeError:  # it does not read to the end: its right
            self._input = b""
        if not self._input:
            stdin, self._stdin = self._stdin, None
            os.close(stdin)

    def _ending(self) -> dict[str, int] | None:
        """How the command ended, or None if it was only stopped."""
        lines = os.read(self._status, 4096).splitlines()
        if not lines:
            raise GoneError(
                "the sandbox died while a command ran in it, or became pid 1 of a new namespace, with the command left outside",
                "make a new Sandbox; apply unshare_pid while nothing runs",
            )
        if (ending := ending_of(lines[-1])) is not None:
            # The agent closes its end next. Until then, who looks at its open files would see one more than there was.
            poll = select.poll()
            poll.register(self._status, 0)
            poll.poll(100)
        return ending


def printer(stream: Any) -> Sink:
    """A sink that prints through Python's own stream, looked up now: in a notebook that is the cell's output."""
    return lambda text: print(text, end="", file=stream, flush=True)


def check_argv(argv: tuple[str, ...]) -> None:
    """Refuse what is no command. Raises InputError."""
    if not argv or not all(isinstance(word, str) for word in argv):
        raise InputError(f"{argv!r} is not a command", 'give its words: box.run("ls", "-l", "/")')
    if any("\0" in word for word in argv):
        raise InputError(f"{argv!r}: a word of a command cannot hold a NUL character")
