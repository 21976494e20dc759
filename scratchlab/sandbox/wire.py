"""How the notebook, the keeper and the agents talk: one request, one answer, as JSON on a unix socket.

    client  →  keeper   {"do": "start", "name": "web"}            ←  {"ok": {"name": "web", "pid": 4711}} + socket to the agent
                        {"do": "outside", "box": "web", "pid": …, "steps": […]}
                                                                  ←  {"ok": [{"value": …, "calls": […]}, …]}
                        {"do": "observe", …}  "prove"  "fact"  "oom"  "close"
    client  →  agent    {"do": "inside", "steps": […]}            ←  {"ok": [{"value": …, "calls": […], "printed": ""}, …]}
                        {"do": "run", "argv": […], …} + in, out, err, status
                                                                  ←  {"ok": {"pid": 7}} (+ the terminal)
                        {"do": "kill", "pid": 7, "signal": 15}    ←  {"ok": null}
    either  →  client   {"error": {"kind": "KernelError", …}}     an error travels as data, see errors.to_wire

A message is four bytes of length, then JSON; file descriptors ride along with the length (SCM_RIGHTS). The kernel adds the
sender's pid as the receiver numbers it (SCM_CREDENTIALS), which is how anyone knows an agent that has become pid 1.
JSON and nothing else comes back from an agent: what is inside a sandbox may lie, but it cannot run code outside.  unix(7)
"""

import array
import json
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from scratchlab.errors import GoneError, SandboxError, from_wire

_LENGTH = struct.Struct("!I")
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_MOST_FDS = 8
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
        except (BrokenPipeError, ConnectionResetError):
            raise _gone() from None

    def receive(self) -> Message:
        """Wait for one message. Raises GoneError if the other end has died."""
        room = socket.CMSG_SPACE(_MOST_FDS * 4) + socket.CMSG_SPACE(_CREDENTIALS.size)
        try:
            head, extras, _flags, _address = self._socket.recvmsg(_LENGTH.size, room, socket.MSG_WAITALL | socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            raise _gone() from None
        fds, pid = _unpack_extras(extras)
        if len(head) < _LENGTH.size:
            raise _gone()
        (length,) = _LENGTH.unpack(head)
        if length > _LONGEST:
            raise SandboxError(f"a message of {length} bytes: this is not our protocol")
        return Message(json.loads(self._read(length)), fds, pid)

    def ask(self, body: dict[str, Any], fds: Sequence[int] = ()) -> Message:
        """Send a request and wait for its answer; an error in the answer is raised here."""
        self.send(body, fds)
        answer = self.receive()
        if "error" in answer.body:
            raise from_wire(answer.body["error"])
        return answer

    def close(self) -> None:
        """Hang up: the other end sees the end of file."""
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


def _gone() -> GoneError:
    return GoneError("the process at the other end has died", "make a new Sandbox; `scratchlab clean` if anything is left")


def close_all(fds: Sequence[int]) -> None:
    """Close file descriptors that came with a message and are not wanted."""
    for fd in fds:
        os.close(fd)
