"""A command in a machine on our own terminal, or on our own standard files: `scratchlab vm shell` and `vm run`."""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

from scratchlab.errors import HostError, ScratchlabError
from scratchlab.vm.conversation import Ending, Session, ending_of
from scratchlab.vm.guest import frames
from scratchlab.vm.link import Guest

_CHUNK = 1 << 16
_SIGINT = 2
_PASSED_ON = ("TERM", "COLORTERM")
_KIND_OF_POSIX = find_spec("termios") is not None  # Windows has terminals, but not of the kind that can be passed on


def attach(guest: Guest, argv: Sequence[str], env: Mapping[str, str] | None = None, cwd: str | None = None) -> Ending:
    """Run a command with our files, or on a terminal of its own if we have one."""
    on_terminal = _KIND_OF_POSIX and os.isatty(0) and os.isatty(1)
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} if on_terminal else {}
    size = _size() if on_terminal else None
    with guest.open(argv, env={**passed, **(env or {})}, cwd=cwd, terminal=size) as session:
        # A thread of its own, since a standard file cannot be waited for on every system. It ends with the program.
        threading.Thread(target=_feed, args=(session,), daemon=True).start()
        with _raw(session) if on_terminal else _interrupts(session):
            return _show(session)


def need_terminal() -> None:
    """Raise HostError where there is no terminal to give to a shell."""
    if not _KIND_OF_POSIX:
        raise HostError(
            "a shell needs a terminal of a kind that Windows lacks", "use it from WSL, or `scratchlab vm run -- COMMAND`"
        )
    if not (os.isatty(0) and os.isatty(1)):
        raise HostError("a shell needs a terminal, and standard input or output is none", "use `scratchlab vm run -- COMMAND`")


def _show(session: Session) -> Ending:
    while True:
        for kind, body in session.receive():
            if kind == frames.END:
                return ending_of(_json(body))
            _write(2 if kind == frames.ERRORS else 1, body)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _feed(session: Session) -> None:
    """Carry what we read to the command, until there is no more."""
    with suppress(OSError, ScratchlabError):  # the command has ended, and the connection with it
        while data := os.read(0, _CHUNK):
            session.feed(data)
        session.feed(b"")


def _size() -> tuple[int, int]:
    columns, rows = os.get_terminal_size(1)
    return rows, columns


@contextmanager
def _raw(session: Session) -> Iterator[None]:
    """Our terminal in raw mode: every key, Ctrl-C too, goes through; and its new size when it changes.  termios(3)"""
    import signal
    import termios
    import tty

    def resized(*_: Any) -> None:
        with suppress(OSError, ScratchlabError):
            session.resize(*_size())

    before = termios.tcgetattr(0)
    handler = signal.signal(signal.SIGWINCH, resized)
    tty.setraw(0, termios.TCSADRAIN)  # and what was typed meanwhile is for the command
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, handler)


@contextmanager
def _interrupts(session: Session) -> Iterator[None]:
    """Ctrl-C is for the command: it may want to say a last word. A second one ends us."""
    import signal

    def interrupted(*frame: Any) -> None:
        signal.signal(signal.SIGINT, before)
        session.kill(_SIGINT)

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _json(body: bytes) -> dict[str, Any]:
    import json

    said: dict[str, Any] = json.loads(body)
    return said
