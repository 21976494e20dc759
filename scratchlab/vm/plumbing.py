"""How QEMU gets the ends of our lines to it: as files that it inherits, or where a system has no such thing, by name.

On a POSIX system the order line is a pair of sockets and the console a file without a name, so there is nothing that another
user could open, and nothing that could be left behind. Elsewhere QEMU calls us back on a port of 127.0.0.1, and the console
is a temporary file.
"""

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from scratchlab.errors import GoneError

_PATIENCE = 20.0


@contextmanager
def temporary(content: bytes) -> Iterator[Path]:
    """A file for QEMU to read, by a name that ends with us: a killed program leaves nothing behind.

    QEMU must inherit the file whose number is in its name.
    """
    if not can_inherit():
        with tempfile.TemporaryDirectory(prefix="scratchlab-") as directory:
            path = Path(directory) / "file"
            path.write_bytes(content)
            yield path
        return
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        yield Path(f"/dev/fd/{file.fileno()}")


def number_of(path: Path | None) -> list[int]:
    """The open file that a name such as /dev/fd/7 means, for QEMU to inherit."""
    return [int(path.name)] if path and path.is_relative_to("/dev/fd") else []


class Plumbing:
    """The lines to one QEMU that is about to start."""

    words: list[str]  # for QEMU's command line
    console_path: str  # what QEMU opens to write the guest's console to
    console: IO[bytes]  # what we read it from
    inherited: list[int]  # files that QEMU gets by inheriting them

    def connected(self) -> socket.socket:
        """Our end of the order line, once QEMU runs."""
        raise NotImplementedError

    def close_theirs(self) -> None:
        """Let go of the ends that QEMU has now."""

    def close(self) -> None:
        """Let go of the console; nothing of it is left."""
        self.console.close()


def can_inherit() -> bool:
    """Whether a program that we start can be given open files."""
    # The variable is for tests: they show on one system what happens on another.
    return os.name == "posix" and not os.environ.get("SCRATCHLAB_VM_BY_NAME")


def lines() -> Plumbing:
    """The lines that this system can have."""
    return Inherited() if can_inherit() else ByName()


class Inherited(Plumbing):
    """Files without a name."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        number, path = tempfile.mkstemp(prefix="scratchlab-")
        self.console = os.fdopen(number, "rb")
        self._console = open(path, "wb")  # noqa: SIM115  QEMU wants one that can only be written
        os.unlink(path)
        self.inherited = [self._theirs.fileno(), self._console.fileno()]
        self.words = ["-add-fd", f"fd={self._console.fileno()},set=1", "-chardev", f"socket,id=orders,fd={self._theirs.fileno()}"]
        self.console_path = "/dev/fdset/1"

    def connected(self) -> socket.socket:
        """Our end: a socket of a pair is connected from the beginning."""
        return self._ours

    def close_theirs(self) -> None:
        """Let go of what QEMU has now."""
        self._theirs.close()
        self._console.close()


class ByName(Plumbing):
    """A port to call back, and a file that goes when we close it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        port = self._listener.getsockname()[1]
        self._directory = tempfile.TemporaryDirectory(prefix="scratchlab-", ignore_cleanup_errors=True)
        self.console_path = str(Path(self._directory.name) / "console")
        self.console = open(self.console_path, "w+b")  # noqa: SIM115  as long as the machine
        self.inherited = []
        self.words = ["-chardev", f"socket,id=orders,host=127.0.0.1,port={port}"]

    def connected(self) -> socket.socket:
        """Our end, when QEMU has called. Raises GoneError if it does not."""
        self._listener.settimeout(_PATIENCE)
        try:
            connection, _ = self._listener.accept()
        except TimeoutError:
            raise GoneError("QEMU did not call back", "see `scratchlab vm doctor`") from None
        finally:
            self._listener.close()
        connection.settimeout(None)
        return connection

    def close(self) -> None:
        """Remove the console's file, too."""
        self.console.close()
        self._directory.cleanup()
