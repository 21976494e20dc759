"""The client's way to its keeper: executed once for each program, on first need, or inside this very process."""

import atexit
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from scratchlab.errors import GoneError, HostError, SandboxError
from scratchlab.sandbox.interrupts import uninterrupted
from scratchlab.sandbox.wire import Channel, Message


class KeeperLike(Protocol):
    """Whoever does the host's side: a keeper of its own, or this process."""

    def call(self, verb: str, **body: Any) -> Message:
        """Ask for one of the keeper's verbs; the answer's body is what it said."""

    def abandon(self, box: str) -> None:
        """Close a sandbox that nobody can name any more, at the next call."""


class RemoteKeeper:
    """A keeper in a process of its own. Any thread may call it; one at a time is heard."""

    def __init__(self) -> None:
        import subprocess

        self._lock = threading.Lock()
        self._abandoned: list[str] = []
        self.holds_us = False  # this very process is in its care, so it cannot end before us
        self.pid_namespace = _pid_namespace()
        ours, theirs = Channel.pair()
        # The same packages must be found there as here, also from a checkout or from a notebook's folder.
        paths = filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")])
        self.process = subprocess.Popen(
            # -P, and no empty path: what lies in the working directory, anybody's files, is not to be run as the host's side.
            [sys.executable, "-P", "-m", "scratchlab.sandbox.keeper", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # Ctrl-C in a terminal or an interrupted cell must not reach the sandboxes
        )
        theirs.close()
        self.channel = ours
        try:
            self.call("hello", path=sys.path)
        except GoneError:
            raise HostError(
                f"the keeper did not start: {sys.executable} -m scratchlab.sandbox.keeper ended with {self.process.wait()}",
                "what it said before stands above, on standard error",
            ) from None

    def call(self, verb: str, **body: Any) -> Message:
        """Ask the keeper. Raises what it raised, or SandboxError if it is gone."""
        with self._lock:
            while self._abandoned:
                with suppress(SandboxError):  # it told of itself, and `clean` tries again
                    self.channel.ask({"do": "close", "box": self._abandoned.pop()})
            return self.channel.ask({"do": verb, **body})

    def abandon(self, box: str) -> None:
        """Close a sandbox at the next call: garbage is collected at any moment, also in the middle of one."""
        self._abandoned.append(box)

    def close(self) -> None:
        """Hang up, and wait until everything is taken back."""
        self.channel.hang_up()
        if not self.holds_us:
            self.process.wait()


class LocalKeeper:
    """The keeper in this process, for a program with one thread that may fork: `scratchlab run`."""

    def __init__(self) -> None:
        from scratchlab.sandbox.keeper import Keeper

        self.keeper = Keeper()
        self._abandoned: list[str] = []

    def call(self, verb: str, **body: Any) -> Message:
        """Do it here and now."""
        while self._abandoned:
            self.keeper.close(self._abandoned.pop())
        said, fds = getattr(self.keeper, verb)(**body)
        return Message(said if verb == "outside" else {"ok": said}, fds, os.getpid())

    def abandon(self, box: str) -> None:
        """Close a sandbox at the next call."""
        self._abandoned.append(box)


_keeper: RemoteKeeper | None = None
_starting = threading.Lock()
forks = 0  # how many forks lie between this process and the first one that imported this


def keeper() -> RemoteKeeper:
    """This program's keeper, started if there is none, or if the last one died."""
    global _keeper
    with _starting, uninterrupted():
        if _keeper is None or not _keeper.channel.is_heard:
            if _keeper and _keeper.holds_us:
                # One that was born here, where we are now, would take this for the host.
                raise GoneError("the keeper of this process was killed", "leave this Python, and begin again in a new one")
            if _keeper:
                _keeper.close()
            _keeper = RemoteKeeper()
    return _keeper


def _hang_up() -> None:
    """At the end of the program: what the keeper made must be gone before the shell's prompt is back."""
    if _keeper is not None:
        _keeper.close()


def _forget() -> None:
    """In a forked child: the sandboxes belong to the parent, and must end when the parent does."""
    global _keeper, _starting, forks
    if _keeper is not None and (os.getpid() == 1 or _pid_namespace() != _keeper.pid_namespace):
        # unshare_pid or join, called directly: this child is the program now, and its parent only waits for it.
        _keeper.pid_namespace = _pid_namespace()
        return
    forks += 1
    _starting = threading.Lock()  # a thread that did not come along may have held it
    if _keeper is not None:
        _keeper.channel.close()
        _keeper = None


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:  # no /proc here
        return ""


atexit.register(_hang_up)
os.register_at_fork(after_in_child=_forget)
