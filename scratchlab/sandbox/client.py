"""The client's way to its keeper: executed once for each program, on first need, or inside this very process."""

import atexit
import os
import sys
import threading
from pathlib import Path
from typing import Any, Protocol

from scratchlab.errors import SandboxError
from scratchlab.sandbox.wire import Channel, Message


class KeeperLike(Protocol):
    """Whoever does the host's side: a keeper of its own, or this process."""

    def call(self, verb: str, **body: Any) -> Message:
        """Ask for one of the keeper's verbs; the answer's body is what it said."""


class RemoteKeeper:
    """A keeper in a process of its own. Any thread may call it; one at a time is heard."""

    def __init__(self) -> None:
        import subprocess

        self._lock = threading.Lock()
        ours, theirs = Channel.pair()
        # The same packages must be found there as here, also from a checkout or from a notebook's folder.
        home = str(Path(__file__).parents[2])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scratchlab.sandbox.keeper", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": home},
            start_new_session=True,  # Ctrl-C in a terminal or an interrupted cell must not reach the sandboxes
        )
        theirs.close()
        self.channel = ours
        self.channel.ask({"path": sys.path})

    def call(self, verb: str, **body: Any) -> Message:
        """Ask the keeper. Raises what it raised, or SandboxError if it is gone."""
        with self._lock:
            return self.channel.ask({"do": verb, **body})

    def close(self) -> None:
        """Hang up, and wait until everything is taken back."""
        self.channel.close()
        self.process.wait()


class LocalKeeper:
    """The keeper in this process, for a program with one thread that may fork: `scratchlab run`."""

    def __init__(self) -> None:
        from scratchlab.sandbox.keeper import Keeper

        self.keeper = Keeper()

    def call(self, verb: str, **body: Any) -> Message:
        """Do it here and now."""
        said, fds = getattr(self.keeper, verb)(**body)
        if verb == "outside" and "error" in said:
            from scratchlab.errors import from_wire

            raise from_wire(said["error"])
        return Message(said if verb == "outside" else {"ok": said}, fds, os.getpid())


_keeper: RemoteKeeper | None = None
_starting = threading.Lock()


def keeper() -> RemoteKeeper:
    """This program's keeper, started if there is none, or if the last one died."""
    global _keeper
    with _starting:
        if _keeper is None or _keeper.process.poll() is not None:
            _keeper = RemoteKeeper()
    return _keeper


def _hang_up() -> None:
    """At the end of the program: what the keeper made must be gone before the shell's prompt is back."""
    if _keeper is not None and _keeper.process.poll() is None:
        _keeper.close()


def _forget() -> None:
    """In a forked child: the sandboxes belong to the parent, and must end when the parent does."""
    global _keeper
    if _keeper is not None:
        _keeper.channel.close()
        _keeper = None


atexit.register(_hang_up)
os.register_at_fork(after_in_child=_forget)


def dead() -> SandboxError:
    """What to raise for a sandbox that is closed already."""
    return SandboxError("this sandbox is closed", "make a new one: Sandbox()")
