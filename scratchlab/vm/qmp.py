"""The line on which QEMU takes orders: one JSON object each way. (QEMU Machine Protocol, in QEMU's docs/interop/qmp-spec)"""

import json
import socket
from typing import IO, Any

from scratchlab.errors import GoneError, HostError


class Qmp:
    """One end of it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("r", encoding="utf-8")
        self._greeted = False

    def __call__(self, execute: str, **arguments: Any) -> Any:
        """Give one order and wait for its result. Raises HostError with what QEMU says, or GoneError."""
        if not self._greeted:
            self._greeted = True
            self._answer("start")
            self("qmp_capabilities")
        self._send(json.dumps({"execute": execute, "arguments": arguments}).encode(), execute)
        while True:
            answer = self._answer(execute)
            if "error" in answer:
                raise HostError(f"QEMU refused {execute}: {answer['error']['desc']}")
            if "return" in answer:  # anything else is news that nobody asked for
                return answer["return"]

    def file(self, name: str, file: IO[bytes]) -> str:
        """An address by which QEMU reads or writes an open file of ours.

        It is handed the file itself; or, where a system cannot do that, its name, which QEMU understands from 8.2 on.
        """
        if self._connection.family != getattr(socket, "AF_UNIX", None):
            return f"file:{file.name}"
        socket.send_fds(self._connection, [b" "], [file.fileno()])  # unix(7), SCM_RIGHTS
        self("getfd", fdname=name)
        return f"fd:{name}"

    def close(self) -> None:
        """Hang up."""
        self._lines.close()
        self._connection.close()

    def _send(self, data: bytes, what: str) -> None:
        try:
            self._connection.sendall(data)
        except OSError:
            raise GoneError(f"QEMU went away before {what}") from None

    def _answer(self, what: str) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except OSError:
            line = ""
        if not line:
            raise GoneError(f"QEMU went away during {what}")
        answer: dict[str, Any] = json.loads(line)
        return answer
