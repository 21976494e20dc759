"""A running machine, seen by whoever knows its port and key: run commands in it, and carry files. (guest/frames.py)"""

import io
import json
import socket
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from scratchlab.errors import GoneError, HostError, InputError
from scratchlab.finished import Finished, Kept, Sink
from scratchlab.vm.conversation import Conversation, Session
from scratchlab.vm.guest import frames


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
                archive.add(source, source.resolve().name, filter=as_root)
            stream.seek(0)
            self.unpack(stream, to)

    def unpack(self, stream: IO[bytes], to: str) -> None:
        """Unpack a tar stream into a directory of the machine."""
        script = 'mkdir -p "$1" && exec tar -x --no-same-owner -C "$1"'
        done = self.run(["sh", "-c", script, "sh", to], input=stream)
        if not done.ok:
            raise HostError(f"could not copy to {to} in the machine: {done.err or done.note}", "is there room? run `df` in it")

    def fetch(self, source: str, to: Path, plain: bool = False) -> None:
        """Copy a file or directory of the machine into the directory `to` of this computer.

        If `plain`, nothing hidden is written, and nothing through a link; what a link in the machine leads to comes in its place.
        """
        parent, _, name = source.rstrip("/").rpartition("/")
        where = parent or ("/" if source.startswith("/") else ".")
        followed = ["--dereference", "--hard-dereference"] if plain else []
        errors = Kept(None)
        with tempfile.TemporaryFile() as stream:
            with self.open(["tar", "-c", *followed, "-C", where, "--", name]) as session:
                outputs = {frames.OUTPUT: stream.write, frames.ERRORS: errors.add}
                ending = Conversation(session, io.BytesIO(), outputs).until_ended()
            if ending.code:
                raise HostError(f"could not copy {source} from the machine: {errors.text()}", "look with `scratchlab vm shell`")
            stream.seek(0)
            unpack_here(stream, to, name, plain)


def unpack_here(stream: IO[bytes], to: Path, name: str, plain: bool = False) -> None:
    """Unpack `name`, and what is in it, from what came from a machine. Raises HostError for anything else."""

    # A guest is nobody's friend, and its tar may be anybody's: what comes need not be what we asked for.
    def accepted(member: tarfile.TarInfo, place: str) -> tarfile.TarInfo:
        if name != "." and PurePosixPath(member.name).parts[:1] != (name,):
            raise HostError(f"the machine sent {member.name!r} instead of {name!r}", "its tar is not the usual one: reset it")
        if plain:
            _check_plain(member, Path(place))
        return tarfile.data_filter(member, place)

    try:
        with tarfile.open(fileobj=stream) as archive:
            archive.extractall(to, filter=accepted)
    except (tarfile.TarError, OSError) as error:
        raise HostError(f"could not write what came from the machine to {to}: {error}", "is it a directory, with room?") from None


def _check_plain(member: tarfile.TarInfo, place: Path) -> None:
    """Raise HostError for what is not a file or directory, or hidden, or would be written where a link leads to."""
    if not (member.isreg() or member.isdir()):
        raise HostError(f"{member.name!r} in the machine is no file and no directory", "copy what you want of it to a file there")
    if any(part[:1] == "." for part in PurePosixPath(member.name).parts):
        raise HostError(f"{member.name!r} in the machine is hidden", "give it another name there, without the dot")
    if (place / member.name).resolve() != place.resolve() / member.name:
        raise HostError(f"{place / member.name} is behind a link, which is not followed", "remove the link, or take another name")


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


def as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member of an archive as root's, whoever its file belongs to here."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
