"""A running machine, seen by whoever knows its port and key: run commands in it, and carry files. (guest/frames.py)"""

import io
import json
import selectors
import socket
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from scratchlab.errors import GoneError, HostError, InputError, KernelError
from scratchlab.finished import Finished, Kept, Sink
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


class Guest:
    """The machine behind a port of this computer."""

    def __init__(self, port: int, key: str, name: str = "") -> None:
        self.port, self.key, self.name = port, key, name

    def gone(self) -> GoneError:
        """The error to raise when the machine does not answer any more."""
        return GoneError(f"the machine {self.name or ''} has ended", "see `scratchlab vm list`")

    def open(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        terminal: tuple[int, int] | None = None,
    ) -> Session:
        """Start a command; with rows and columns, on a terminal of its own. Raises KernelError if it cannot run."""
        check_words(argv)
        try:
            connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        except OSError:
            raise self.gone() from None
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = Session(connection, self.gone)
        try:
            session.send(frames.KEY, self.key.encode())
            wanted = {"argv": list(argv), "env": dict(env or {}), "cwd": cwd, "terminal": terminal and list(terminal)}
            session.send(frames.RUN, json.dumps(wanted).encode())
            session.started(argv)
        except BaseException:
            session.close()
            raise
        return session

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | bytes | IO[bytes] = b"",
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stream: Sink | None = None,
    ) -> Finished:
        """Run a command in the machine as root, and wait for it.

        `input` is what it reads, from a file if it is long; after `timeout` seconds it gets SIGTERM, and SIGKILL if that does
        not help; `stream` gets its output while it runs. Raises KernelError if it cannot be executed, GoneError if the
        machine ends.
        """
        out, err = Kept(stream), Kept(stream)
        deadline = None if timeout is None else time.monotonic() + timeout
        with self.open(argv, env=env, cwd=cwd) as session:
            outputs = {frames.OUTPUT: out.add, frames.ERRORS: err.add}
            talk = Conversation(session, _as_file(input), outputs)
            ending = talk.until_ended(deadline)
        dropped = out.dropped + err.dropped
        return Finished(tuple(argv), ending.status, ending.signal, out.text(), err.text(), talk.timed_out, dropped, ending.note)

    def push(self, source: Path, to: str) -> None:
        """Copy a file or directory of this computer into the directory `to` of the machine."""
        with tempfile.TemporaryFile() as stream:
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
                archive.add(source, source.resolve().name, filter=_as_root)
            stream.seek(0)
            self.unpack(stream, to)

    def unpack(self, stream: IO[bytes], to: str) -> None:
        """Unpack a tar stream into a directory of the machine."""
        script = 'mkdir -p "$1" && exec tar -x --no-same-owner -C "$1"'
        done = self.run(["sh", "-c", script, "sh", to], input=stream)
        if not done.ok:
            raise HostError(f"could not copy to {to} in the machine: {done.err or done.note}", "is there room? run `df` in it")

    def fetch(self, source: str, to: Path) -> None:
        """Copy a file or directory of the machine into the directory `to` of this computer."""
        parent, _, name = source.rstrip("/").rpartition("/")
        errors = Kept(None)
        with tempfile.TemporaryFile() as stream:
            with self.open(["tar", "-c", "-C", parent or ("/" if source.startswith("/") else "."), "--", name]) as session:
                outputs = {frames.OUTPUT: stream.write, frames.ERRORS: errors.add}
                ending = Conversation(session, io.BytesIO(), outputs).until_ended()
            if ending.code:
                raise HostError(f"could not copy {source} from the machine: {errors.text()}", "look with `scratchlab vm shell`")
            stream.seek(0)
            unpack_here(stream, to)


def unpack_here(stream: IO[bytes], to: Path) -> None:
    """Unpack what came from a machine. Raises HostError for what does not fit below `to`."""
    # A guest is nobody's friend: its archive may want to write where we did not ask. The filter refuses that.
    try:
        with tarfile.open(fileobj=stream) as archive:
            archive.extractall(to, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise HostError(f"could not write what came from the machine to {to}: {error}", "is it a directory, with room?") from None


def check_words(argv: Sequence[str]) -> None:
    """Refuse what is no command. Raises InputError."""
    if isinstance(argv, str) or not argv or not all(isinstance(word, str) for word in argv):
        raise InputError(f"{argv!r} is not a command", 'give its words: machine.run(["ls", "-l", "/"])')
    if any("\0" in word for word in argv):
        raise InputError(f"{argv!r}: a word of a command cannot hold a NUL character")


def _as_file(input: str | bytes | IO[bytes]) -> IO[bytes]:
    if isinstance(input, str):
        return io.BytesIO(input.encode())
    return io.BytesIO(input) if isinstance(input, bytes) else input


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
