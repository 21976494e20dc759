"""What host and guest say to each other about one command: frames on one TCP connection, to port 5000 of the guest.

    host                                            guest
    KEY    the key of this start                ->
    RUN    {"argv": […], "env": {…}, "cwd": "…",
            "terminal": [rows, columns] | null} ->
                                                <-  RUN   {"pid": 4711}, or {"error": {…}} and no more
    INPUT  bytes for standard input             ->
    INPUT  (empty) its end                      ->
    SIGNAL {"signal": 2} | {"size": [r, c]}     ->
                                                <-  OUTPUT bytes of standard output, or of the terminal
                                                <-  ERRORS bytes of standard error
                                                <-  END   {"exit": 0} | {"signal": 9, "name": "SIGKILL", "memory": true}

A frame is one byte for its kind, four for the length of what follows, and that. A command lives as long as its connection:
whoever hangs up ends it. Files go as tar streams through the standard files of a tar(1) that runs there.

The port is in a network of its own, so that nothing that a learner does to the guest's network cuts this line.
"""

import socket
import struct
from collections.abc import Iterator

KEY, RUN, INPUT, SIGNAL, OUTPUT, ERRORS, END = b"K", b"R", b"I", b"S", b"O", b"E", b"X"

PORT = 5000  # in the guest, for commands
KERNEL_PORTS = {"shell_port": 5001, "iopub_port": 5002, "stdin_port": 5003, "control_port": 5004, "hb_port": 5005}
ADDRESS = "10.0.3.15"  # of the guest, in the network for this

# What a guest's pytest says, on its standard error, to be dealt one more file of tests (deal.py); a test says no such thing.
NEXT_FILE = b"\0next\n"

_HEAD = struct.Struct("!cI")
LONGEST = 1 << 20  # bytes in one frame; more is sent as several


def packed(kind: bytes, data: bytes = b"") -> bytes:
    """One frame, to be sent."""
    return _HEAD.pack(kind, len(data)) + data


def send(connection: socket.socket, kind: bytes, data: bytes = b"") -> None:
    """Send one frame, or several if it is long."""
    view = memoryview(data)
    connection.sendall(packed(kind, bytes(view[:LONGEST])))
    while len(view := view[LONGEST:]):
        connection.sendall(packed(kind, bytes(view[:LONGEST])))


class Frames:
    """Frames out of the bytes of one connection, in whatever pieces those come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The frames that are complete with these bytes. Raises ValueError for what cannot be one of ours."""
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._buffer)
            if length > LONGEST:
                raise ValueError(f"a frame of {length} bytes")
            if len(self._buffer) < _HEAD.size + length:
                return
            body = bytes(self._buffer[_HEAD.size : _HEAD.size + length])
            del self._buffer[: _HEAD.size + length]
            yield kind, body
