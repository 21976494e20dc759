"""One command in a machine: its session, and the bytes that go to it and come from it.  (guest/frames.py)"""

import json
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, NamedTuple

from scratchlab.errors import GoneError, KernelError
from scratchlab.vm.guest import frames

_CHUNK = 1 << 16
_GRACE = 2.0  # seconds between SIGTERM and SIGKILL
_SIGTERM, _SIGKILL = 15, 9  # as Linux numbers them, whatever runs here


class Ending(NamedTuple):
    """How a command in the machine ended."""

    status: int | None  # the exit status, or None if a signal ended it
    signal: str | None  # such as "SIGKILL"
    number: int = 0  # of the signal
    note: str = ""  # what the guest knows about it

    @property
    def code(self) -> int:
        """As a shell's `$?`."""
        return self.status if self.status is not None else 128 + self.number


class Session:
    """One command that runs in the machine. It ends at the latest when this closes."""

    def __init__(self, connection: socket.socket, gone: Callable[[], GoneError]) -> None:
        self._connection, self._gone = connection, gone
        self._frames = frames.Frames()
        self._early: list[tuple[bytes, bytes]] = []
        self._sending = threading.Lock()  # one thread may feed while another resizes

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def fileno(self) -> int:
        """To wait for with a selector."""
        return self._connection.fileno()

    def send(self, kind: bytes, data: bytes = b"") -> None:
        """Send one frame."""
        try:
            with self._sending:
                frames.send(self._connection, kind, data)
        except OSError:
            raise self._gone() from None

    def feed(self, data: bytes) -> None:
        """Give the command some input; none is its end."""
        self.send(frames.INPUT, data)

    def kill(self, number: int) -> None:
        """Send a signal to the command and its children, by Linux's number."""
        self.send(frames.SIGNAL, json.dumps({"signal": number}).encode())

    def resize(self, rows: int, columns: int) -> None:
        """Tell the command's terminal its new size."""
        self.send(frames.SIGNAL, json.dumps({"size": [rows, columns]}).encode())

    def never_wait(self) -> None:
        """From now on `write` and `receive` do what can be done at once: the caller waits for both."""
        self._connection.setblocking(False)

    def write(self, data: bytearray) -> int:
        """Write what can be written now. Gives how many bytes that were."""
        try:
            return self._connection.send(data[:_CHUNK])
        except BlockingIOError:
            return 0
        except OSError:
            raise self._gone() from None

    def early(self) -> list[tuple[bytes, bytes]]:
        """Frames that came together with the word that the command runs."""
        early, self._early = self._early, []
        return early

    def receive(self) -> list[tuple[bytes, bytes]]:
        """Wait for frames; several may come at once. Raises GoneError if the machine ends."""
        found = self.early()
        while not found:
            try:
                data = self._connection.recv(_CHUNK)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                raise self._gone()
            found = list(self._frames.feed(data))
        return found

    def started(self, argv: Sequence[str]) -> None:
        """Wait until the command runs. Raises KernelError if it cannot."""
        (_, body), *self._early = self.receive()
        said = json.loads(body)
        if "error" in said:
            call, what, number = (said["error"][name] for name in ("call", "what", "errno"))
            where = "in the machine, not on this computer" if call == "execve" else "the directory must exist in the machine"
            raise KernelError(call, {"pathname": repr(what), "argv": str(list(argv))}, number, f"looked for {where}")


class Conversation:
    """The bytes of one command, both ways, and the clock. Neither way ever waits for the other."""

    def __init__(self, session: Session, source: IO[bytes], outputs: Mapping[bytes, Callable[[bytes], Any]]) -> None:
        self._session, self._source, self._outputs = session, source, outputs
        self._pending = bytearray()  # frames that the machine has not taken yet
        self._source_ends = False
        self.timed_out = False

    def until_ended(self, deadline: float | None = None) -> Ending:
        """Carry input and output until the command ends; after the deadline, end it."""
        if ending := _take(self._session.early(), self._outputs):
            return ending
        self._session.never_wait()
        self._fill()
        with selectors.DefaultSelector() as selector:
            key = selector.register(self._session, selectors.EVENT_READ)
            while True:
                selector.modify(key.fileobj, selectors.EVENT_READ | (selectors.EVENT_WRITE if self._pending else 0))
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                ready = sum(events for _, events in selector.select(left))
                if deadline is not None and time.monotonic() >= deadline:
                    deadline = self._out_of_time()
                if ready & selectors.EVENT_WRITE:
                    del self._pending[: self._session.write(self._pending)]
                    self._fill()
                if ready & selectors.EVENT_READ and (ending := _take(self._session.receive(), self._outputs)):
                    return ending

    def _fill(self) -> None:
        """Have something to send, for as long as there is input."""
        while len(self._pending) < _CHUNK and not self._source_ends:
            data = self._source.read(_CHUNK)
            self._source_ends = not data
            self._pending += frames.packed(frames.INPUT, data)

    def _out_of_time(self) -> float:
        """Ask the command to end, or if it was asked before, kill it. Gives when to look again."""
        number = _SIGKILL if self.timed_out else _SIGTERM
        self._pending += frames.packed(frames.SIGNAL, json.dumps({"signal": number}).encode())
        self.timed_out = True
        return time.monotonic() + _GRACE


def _take(came: list[tuple[bytes, bytes]], outputs: Mapping[bytes, Callable[[bytes], Any]]) -> Ending | None:
    """Hand on what came, and give the command's ending if that was in it."""
    for kind, body in came:
        if kind == frames.END:
            return ending_of(json.loads(body))
        outputs[kind](body)
    return None


def ending_of(said: Mapping[str, Any]) -> Ending:
    """How the guest says that a command ended."""
    note = "killed because the machine ran out of memory" if said.get("memory") else ""
    return Ending(said.get("exit"), said.get("name"), said.get("signal", 0), note)
