"""One command for the host: a process of its own between the command and the connection that asked for it."""

import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import sys
import termios
from contextlib import suppress
from typing import Any, NoReturn

from scratchlab.finished import signal_name
from scratchlab.vm.guest import frames

_CHUNK = 1 << 16
_MOST_TYPED = 1 << 20  # bytes that wait for the command
_ENVIRONMENT = ("PATH", "HOME", "LANG", "PYTHONPATH", "JUPYTER_PATH")


def run(connection: socket.socket, key: str) -> NoReturn:
    """Serve one connection, and end."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        Session(connection, key).serve()
        status = 0
    except (OSError, ValueError) as error:  # the host hung up, or it was not our host
        with suppress(OSError):
            print(f"session: {error}", file=sys.stderr)
    finally:
        os._exit(status)


class Session:
    """A command, and the bytes to and from it."""

    def __init__(self, connection: socket.socket, key: str) -> None:
        self._connection = connection
        self._frames = frames.Frames()
        self._key = key
        self._pid = 0
        self._input = -1
        self._terminal = -1
        self._outputs: dict[int, bytes] = {}
        self._typed = bytearray()  # input that the command has not taken yet
        self._input_ends = False

    def serve(self) -> None:
        """Run the command that is asked for, to its end or to the end of the connection."""
        before = killed_for_memory()
        while not self._pid:
            self._receive()
        try:
            self._relay()
        except BaseException:
            self._hang_up()
            raise
        _, status = os.waitpid(self._pid, 0)
        self._drain()
        self._send(frames.END, json.dumps(ending_of(status, killed_for_memory() > before)).encode())
        # Closing now, with input unread, would reset the connection, and the end would be lost on its way.  tcp(7)
        self._connection.shutdown(socket.SHUT_WR)
        while self._connection.recv(_CHUNK):
            pass

    def _send(self, kind: bytes, data: bytes = b"") -> None:
        frames.send(self._connection, kind, data)

    # -- what the host says -------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        data = self._connection.recv(_CHUNK)
        if not data:
            raise ConnectionResetError("the host hung up")
        for kind, body in self._frames.feed(data):
            self._on_frame(kind, body)

    def _on_frame(self, kind: bytes, body: bytes) -> None:
        if kind == frames.KEY:
            if not self._key or body.decode() != self._key:
                raise ConnectionRefusedError("a wrong key")
            self._key = ""  # known from here on
        elif self._key:
            raise ConnectionRefusedError("no key")
        elif kind == frames.RUN:
            self._start(**json.loads(body))
        elif kind == frames.INPUT:
            self._typed += body
            self._input_ends = self._input_ends or not body
            self._feed()
        elif kind == frames.SIGNAL:
            self._on_signal(**json.loads(body))

    def _on_signal(self, signal: int = 0, size: list[int] | None = None) -> None:
        if size and self._terminal >= 0:
            _resize(self._terminal, size)
        if signal:
            with suppress(ProcessLookupError):
                os.killpg(self._pid, signal)

    # -- the command --------------------------------------------------------------------------------------------------

    def _start(self, argv: list[str], env: dict[str, str], cwd: str | None, terminal: list[int] | None) -> None:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | env
        ends = self._make_terminal(terminal) if terminal else self._make_pipes()
        reader, writer = os.pipe()  # closes when the command is executed, or says why it is not
        self._pid = os.fork()
        if self._pid == 0:
            _execute(argv, environment, cwd or environment.get("HOME", "/"), ends, bool(terminal), writer)
        for fd in {*ends, writer}:
            os.close(fd)
        with open(reader, "rb") as failure:
            said = failure.read()
        self._send(frames.RUN, said or json.dumps({"pid": self._pid}).encode())

    def _make_terminal(self, size: list[int]) -> list[int]:
        self._terminal, other = pty.openpty()
        os.set_blocking(self._terminal, False)
        _resize(other, size)
        self._input = self._terminal
        self._outputs[self._terminal] = frames.OUTPUT
        return [other, other, other]

    def _make_pipes(self) -> list[int]:
        theirs_in, self._input = os.pipe()
        out, theirs_out = os.pipe()
        err, theirs_err = os.pipe()
        self._outputs = {out: frames.OUTPUT, err: frames.ERRORS}
        for fd in (self._input, out, err):
            os.set_blocking(fd, False)
        return [theirs_in, theirs_out, theirs_err]

    # -- bytes --------------------------------------------------------------------------------------------------------

    def _relay(self) -> None:
        """Carry bytes until the command ends."""
        ended = os.pidfd_open(self._pid)
        while True:
            poll = select.poll()
            poll.register(ended, select.POLLIN)
            for fd, events in self._interests().items():
                poll.register(fd, events)
            ready = dict(poll.poll())
            for fd in [fd for fd in self._outputs if fd in ready]:
                self._forward(fd)
            if self._typed and self._input in ready:
                self._feed()
            if self._connection.fileno() in ready:
                self._receive()
            if ended in ready:
                os.close(ended)
                return

    def _interests(self) -> dict[int, int]:
        """What to wait for: a full buffer is not read into, an empty one not written from."""
        wanted = dict.fromkeys(self._outputs, select.POLLIN)
        if self._typed and self._input >= 0:
            wanted[self._input] = wanted.get(self._input, 0) | select.POLLOUT
        if len(self._typed) < _MOST_TYPED:
            wanted[self._connection.fileno()] = select.POLLIN
        return wanted

    def _forward(self, fd: int) -> bool:
        """Send one piece of output, and say whether there was one."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # a terminal that nobody has open any more
            data = b""
        if data:
            self._send(self._outputs[fd], data)
        else:
            del self._outputs[fd]
        return bool(data)

    def _feed(self) -> None:
        """Give the command as much of its input as it takes now."""
        try:
            while self._typed and self._input >= 0:
                del self._typed[: os.write(self._input, self._typed[:_CHUNK])]
        except BlockingIOError:
            return
        except OSError:  # nobody reads it
            self._typed.clear()
        if self._input_ends and not self._typed and self._input not in (-1, self._terminal):
            os.close(self._input)
            self._input = -1

    def _drain(self) -> None:
        """Send what the command said before it ended. What children of it say later is nobody's."""
        for fd in list(self._outputs):
            while self._forward(fd):
                pass

    def _hang_up(self) -> None:
        """End what is still there when nobody listens any more; a terminal that closes does it by itself."""
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGHUP if self._terminal >= 0 else signal.SIGKILL)


def _execute(argv: list[str], env: dict[str, str], cwd: str, ends: list[int], terminal: bool, failure: int) -> NoReturn:
    """Become the command, in a forked child; what goes wrong is written to `failure`."""
    call = "setsid"
    try:
        os.setsid()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and so would every command
        for number, fd in enumerate(ends):
            os.dup2(fd, number)
        if terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        call = "chdir"
        os.chdir(cwd)
        call = "execve"
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        what = cwd if call == "chdir" else argv[0]
        os.write(failure, json.dumps({"error": {"call": call, "what": what, "errno": error.errno}}).encode())
    finally:
        os._exit(127)


def ending_of(status: int, memory: bool) -> dict[str, Any]:
    """A wait status in words that do not depend on the reader's own system.  wait(2)"""
    if os.WIFEXITED(status):
        return {"exit": os.WEXITSTATUS(status)}
    number = os.WTERMSIG(status)
    return {"signal": number, "name": signal_name(number), "memory": memory}


def _resize(terminal: int, size: list[int]) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", *size, 0, 0))


def killed_for_memory() -> int:
    """How many processes the kernel has killed so far because memory ran out.  proc_vmstat(5)

    0 where /proc is gone: a learner may unmount it, and process 1 asks this too, which must not die of it.
    """
    try:
        with open("/proc/vmstat") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0
