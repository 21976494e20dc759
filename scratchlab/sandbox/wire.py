"""How the notebook, the keeper and the agents talk: one request, one answer, as JSON on a unix socket.

    client  →  keeper   {"do": "start", "name": "web"}            ←  {"ok": {"name": "web", "pid": 4711}} + socket to the agent
                        {"do": "outside", "box": "web", "pid": …, "steps": […]}
                                                                  ←  {"ok": [{"value": …, "calls": […]}, …]}
                        {"do": "observe", …}  "packet"  "prove"  "fact"  "oom_kills"  "close"
    client  →  agent    {"do": "inside", "steps": […]}            ←  {"ok": [{"value": …, "calls": […], "printed": ""}, …]}
                        {"do": "run", "argv": […], …} + in, out, err, status
                                                                  ←  {"ok": {"pid": 7}} (+ the terminal)
                        {"do": "kill", "pid": 7, "signal": 15}    ←  {"ok": null}
    either  →  client   {"error": {"kind": "KernelError", …}}     an error travels as data, see errors.to_wire

Every request has a number, which its answer repeats: an answer that nobody waits for any more, because Ctrl-C came first,
must not be taken for the answer to the next request.

A message is four bytes of length, then JSON; file descriptors ride along with the length (SCM_RIGHTS). The kernel adds the
sender's pid as the receiver numbers it (SCM_CREDENTIALS), which is how anyone knows an agent that has become pid 1.
JSON and nothing else comes back from an agent: what is inside a sandbox may lie, but it cannot run code outside.  unix(7)
"""

import array
import errno
import json
import os
import select
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from scratchlab.errors import GoneError, from_wire
from scratchlab.sandbox.interrupts import uninterrupted

_LENGTH = struct.Struct("!I")
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_MOST_FDS = 8
_HUNG_UP = (errno.EPIPE, errno.ECONNRESET, errno.EBADF)  # EBADF: it was us
_LONGEST = 64 << 20  # bytes; a longer message is not one of ours


class Message(NamedTuple):
    """One message as received."""

    body: dict[str, Any]
    fds: list[int]
    pid: int  # the sender, as the receiver's pid namespace numbers it


class Channel:
    """One end of a conversation."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._asked = 0
        end.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    @classmethod
    def pair(cls) -> tuple["Channel", "Channel"]:
        """Two connected ends."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(one), cls(other)

    @classmethod
    def from_fd(cls, fd: int) -> "Channel":
        """The end behind a file descriptor, which the channel owns from now on."""
        return cls(socket.socket(fileno=fd))

    def fileno(self) -> int:
        """The socket's number, for poll and for handing it on."""
        return self._socket.fileno()

    def send(self, body: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send one message. Raises GoneError if nobody is there any more."""
        data = json.dumps(body).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._socket.sendmsg([_LENGTH.pack(len(data))], rights)
            self._socket.sendall(data)
        except OSError as error:
            raise _gone(error) from None

    def receive(self) -> Message:
        """Wait for one message. Raises GoneError if the other end has died."""
        room = socket.CMSG_SPACE(_MOST_FDS * 4) + socket.CMSG_SPACE(_CREDENTIALS.size)
        try:
            head, extras, _, _ = self._socket.recvmsg(_LENGTH.size, room, socket.MSG_WAITALL | socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            raise _gone(error) from None
        fds, pid = _unpack_extras(extras)
        try:
            return Message(self._body(head), fds, pid)
        except BaseException:
            close_all(fds)
            raise

    def _body(self, head: bytes) -> dict[str, Any]:
        if len(head) < _LENGTH.size:
            raise _gone()
        (length,) = _LENGTH.unpack(head)
        if length > _LONGEST:
            raise self._not_ours(f"a message of {length} bytes")
        try:
            body = json.loads(self._read(length))
        except (ValueError, RecursionError):
            raise self._not_ours("a message that is not JSON") from None
        if not isinstance(body, dict):
            raise self._not_ours("a message that is not a JSON object")
        return body

    def _not_ours(self, what: str) -> GoneError:
        # Where the next message would begin is anybody's guess.
        self.close()
        return GoneError(f"{what} came from the other end: that is not our protocol", "make a new Sandbox")

    def ask(self, body: dict[str, Any], fds: Sequence[int] = ()) -> Message:
        """Send a request and wait for its answer.

        An error in it is raised here, unless part of the request was done.
        Ctrl-C may come while we wait; the channel can be used all the same.
        """
        self._asked += 1
        with self._whole():
            self.send({**body, "number": self._asked}, fds)
        while True:
            self._wait()
            answer = self._receive_whole()
            if answer.body.pop("number", None) == self._asked:
                break
            close_all(answer.fds)
        if "error" in answer.body and "done" not in answer.body:
            close_all(answer.fds)
            raise from_wire(answer.body["error"])
        return answer

    def _wait(self) -> None:
        if self.is_open:  # else receive will say so
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            poll.poll()

    def _receive_whole(self) -> Message:
        answer = None
        try:
            with self._whole():
                answer = self.receive()
        except KeyboardInterrupt:
            close_all(answer.fds if answer else ())
            raise
        return answer

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """One message, for whose end Ctrl-C waits. A second one does not: the other end may have stopped in the middle."""
        with uninterrupted(patience=1):
            try:
                yield
            except KeyboardInterrupt:
                self.close()  # whatever follows would be read as the other half of this message
                raise

    @property
    def is_open(self) -> bool:
        """Whether we have not hung up."""
        return self._socket.fileno() >= 0

    @property
    def is_heard(self) -> bool:
        """Whether somebody is still at the other end, and we at ours."""
        if not self.is_open:
            return False
        poll = select.poll()
        poll.register(self._socket, 0)
        return not poll.poll(0)  # POLLHUP needs no asking for.  poll(2)

    def hang_up(self) -> None:
        """Close it for all who hold it: threads of ours that wait for an answer, and copies in forked children."""
        with suppress(OSError):  # the other end was quicker
            self._socket.shutdown(socket.SHUT_RDWR)
        self.close()

    def close(self) -> None:
        """Let go of it; once nobody here holds it any more, the other end sees the end of file."""
        self._socket.close()

    def _read(self, length: int) -> bytes:
        data = bytearray(length)
        view = memoryview(data)
        while view:
            got = self._socket.recv_into(view)
            if got == 0:
                raise _gone()
            view = view[got:]
        return bytes(data)


def _unpack_extras(extras: list[tuple[int, int, bytes]]) -> tuple[list[int], int]:
    fds, pid = array.array("i"), 0
    for level, kind, data in extras:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            pid = _CREDENTIALS.unpack(data)[0]
    return list(fds), pid


def _gone(error: OSError | None = None) -> GoneError:
    if error and error.errno not in _HUNG_UP:
        raise error
    return GoneError("the process at the other end has died", "make a new Sandbox; `scratchlab clean` if anything is left")


def close_all(fds: Sequence[int]) -> None:
    """Close file descriptors that came with a message and are not wanted."""
    for fd in fds:
        os.close(fd)
