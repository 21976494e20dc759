"""A command in a sandbox with our own terminal, or our own standard files: what `scratchlab run` and `exec` do.

On a terminal, the command gets a pseudo-terminal of the sandbox's own, and we carry bytes between the two with ours in raw
mode, so that Ctrl-C and Ctrl-Z are characters for the other side. Without one, it gets our files themselves, and the signals
that come to us are handed on.
"""

import fcntl
import os
import select
import signal
import struct
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from scratchlab.errors import GoneError
from scratchlab.sandbox.answers import ending_of, pid_of
from scratchlab.sandbox.sandbox import Sandbox

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_HEEDED = (*_FORWARDED, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)

# Bytes to show after the command's end: more than a terminal holds. What it left running may write on for ever.
_MOST_LAST_WORDS = 1 << 20


class Signals:
    """Signals that came to us, as numbers to read, so that none arrives in the middle of something."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in _HEEDED:
            # Python must have a handler for the number to reach the pipe; an ignored SIGHUP (nohup) stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: None)

    def fileno(self) -> int:
        """To wait for with poll."""
        return self._reader

    def read(self) -> list[signal.Signals]:
        """Those that came since the last call."""
        with suppress(BlockingIOError):
            return [signal.Signals(number) for number in os.read(self._reader, 4096)]
        return []

    def ending(self) -> signal.Signals | None:
        """The first of those that came which asks us to end, if any."""
        return next((number for number in self.read() if number in _FORWARDED[:4]), None)


def attach(box: Sandbox, argv: tuple[str, ...], env: dict[str, str], cwd: str | None, signals: Signals) -> dict[str, int]:
    """Run a command on our own terminal or files. Gives {"exit": status} or {"signal": number}."""
    body = {"do": "run", "argv": list(argv), "env": env, "cwd": cwd}
    if os.isatty(0) and os.isatty(1):
        return _on_terminal(box, body, signals)
    reader, writer = os.pipe()
    try:
        answer = box.ask(body, [0, 1, 2, writer])
    finally:
        os.close(writer)
    return _Attached(box, pid_of(answer), reader, signals).until_ended()


def _on_terminal(box: Sandbox, body: dict[str, Any], signals: Signals) -> dict[str, int]:
    reader, writer = os.pipe()
    try:
        answer = box.ask(body | {"tty": _size()}, [writer])
    finally:
        os.close(writer)
    with _raw():
        return _AttachedTerminal(box, pid_of(answer, files=1), reader, signals, answer.fds[0]).until_ended()


class _Attached:
    """A command that has our own files; we wait for it and hand on signals."""

    def __init__(self, box: Sandbox, pid: int, status: int, signals: Signals) -> None:
        self._box, self._pid, self._status, self._signals = box, pid, status, signals
        self._ending: dict[str, int] | None = None
        self._poll = select.poll()
        self._poll.register(status, select.POLLIN)
        self._poll.register(signals.fileno(), select.POLLIN)

    def until_ended(self) -> dict[str, int]:
        while self._ending is None:
            ready = {fd for fd, _ in self._poll.poll()}
            self._carry(ready)
            for number in self._signals.read():
                self._on_signal(number)
            if self._status in ready:
                self._on_status()
        os.close(self._status)
        return self._ending

    def _carry(self, ready: set[int]) -> None:
        """Nothing to carry: the command has our files."""

    def _on_signal(self, number: signal.Signals) -> None:
        if number == signal.SIGTSTP:
            # SIGSTOP for it, since its process group has no shell of its own and SIGTSTP would be ignored.
            self._box.kill(self._pid, signal.SIGSTOP)
            self._sleep()
        elif number in _FORWARDED:
            self._box.kill(self._pid, number)

    def _on_status(self) -> None:
        lines = os.read(self._status, 4096).splitlines()
        if not lines:
            raise GoneError("the sandbox died while a command ran in it", "something killed pid 1 in it; or `scratchlab stop`")
        self._ending = ending_of(lines[-1])

    def _sleep(self) -> None:
        """Stop as our shell expects after Ctrl-Z; when it continues us, the command continues too."""
        os.kill(os.getpid(), signal.SIGSTOP)
        self._box.kill(self._pid, signal.SIGCONT)


class _AttachedTerminal(_Attached):
    """A command on a pseudo-terminal; we carry bytes between it and our terminal."""

    def __init__(self, box: Sandbox, pid: int, status: int, signals: Signals, terminal: int) -> None:
        super().__init__(box, pid, status, signals)
        self._terminal = terminal
        # Whoever waits until a command reads what was pasted cannot show what it writes meanwhile, and both wait for ever.
        os.set_blocking(terminal, False)
        self._typed = b""  # and not taken yet
        self._poll.register(terminal, select.POLLIN)
        self._poll.register(0, select.POLLIN)

    def until_ended(self) -> dict[str, int]:
        ending = super().until_ended()
        left = _MOST_LAST_WORDS
        while left > 0 and (shown := self._show()):
            left -= shown
        os.close(self._terminal)
        return ending

    def _carry(self, ready: set[int]) -> None:
        if self._terminal in ready:
            self._show()
        if 0 in ready:
            self._listen()
        if self._typed:
            self._type()

    def _show(self) -> int:
        """Show one piece, and give its length: 0 where there is none. A terminal that the command has closed reads as EIO."""
        try:
            data = os.read(self._terminal, 1 << 16)
        except BlockingIOError:
            return 0
        except OSError:
            with suppress(KeyError):  # seen before
                self._poll.unregister(self._terminal)
            return 0
        written = 0
        while written < len(data):
            written += os.write(1, data[written:])
        return written

    def _listen(self) -> None:
        """Take what was typed; no more of it before the command has taken that."""
        self._poll.unregister(0)
        with suppress(OSError):  # our own terminal is gone; a SIGHUP tells the command
            self._typed = os.read(0, 1 << 12)
        if self._typed:
            self._poll.register(self._terminal, select.POLLIN | select.POLLOUT)

    def _type(self) -> None:
        try:
            self._typed = self._typed[os.write(self._terminal, self._typed) :]
        except BlockingIOError:
            return
        except OSError:
            self._typed = b""  # nobody there to read it
        if not self._typed:
            self._poll.register(0, select.POLLIN)
            self._poll.register(self._terminal, select.POLLIN)

    def _on_signal(self, number: signal.Signals) -> None:
        if number == signal.SIGWINCH:
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("4H", *_size(), 0, 0))
        elif number != signal.SIGTSTP:  # in raw mode Ctrl-Z is a character; a SIGTSTP from elsewhere is not for the command
            super()._on_signal(number)

    def _on_status(self) -> None:
        stopped_before = self._ending
        super()._on_status()
        if self._ending is stopped_before:
            # The command was stopped by Ctrl-Z on its own terminal: now we stop on ours.
            with _cooked():
                self._sleep()
            self._on_signal(signal.SIGWINCH)


def _size() -> list[int]:
    columns, rows = os.get_terminal_size(1)
    return [rows, columns]


_saved: list[Any] = []


@contextmanager
def _raw() -> Iterator[None]:
    """Our terminal in raw mode: every key goes through.  termios(3), cfmakeraw"""
    _saved[:] = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, _saved)


@contextmanager
def _cooked() -> Iterator[None]:
    """Our terminal as it was before, for as long as we sleep."""
    termios.tcsetattr(0, termios.TCSADRAIN, _saved)
    try:
        yield
    finally:
        tty.setraw(0)
