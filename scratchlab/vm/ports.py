"""The five ports on which Jupyter expects a kernel, held by us: whatever becomes of the machine, somebody answers there."""

import errno
import time
from collections.abc import Callable
from typing import Any

import zmq

from scratchlab.errors import HostError
from scratchlab.vm.messages import Frames, Request, Writer, read

_KINDS = {"shell": zmq.ROUTER, "control": zmq.ROUTER, "stdin": zmq.ROUTER, "hb": zmq.ROUTER, "iopub": zmq.XPUB}
_PATIENCE = 5.0  # seconds in which a kernel of before, which was killed, has let go of its ports
_IN_USE = (errno.EADDRINUSE, errno.EACCES)

Socket = zmq.Socket[bytes]


class Shutdown(Exception):  # noqa: N818  nothing went wrong
    """Jupyter wants the kernel to end, or is gone."""


class Ports:
    """What Jupyter connects to."""

    def __init__(self, facts: dict[str, Any], watch: Callable[[], bool] = lambda: True) -> None:
        self.key = str(facts.get("key", ""))
        self._write = Writer(self.key)
        self._watch = watch
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._sockets: dict[str, Socket] = {}
        try:
            for channel, kind in _KINDS.items():
                self._sockets[channel] = self._bound(kind, _address(facts, channel))
        except BaseException:
            self.close()
            raise

    def _bound(self, kind: int, address: str) -> Socket:
        socket: Socket = self.socket(kind)
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                socket.bind(address)
                return socket
            except zmq.ZMQError as error:
                if error.errno not in _IN_USE or time.monotonic() > deadline:
                    raise HostError(
                        f"Jupyter told the kernel to listen at {address}, and it cannot: {error.strerror}",
                        "another program took the port in between: start the kernel again, and Jupyter chooses others",
                    ) from None
            time.sleep(0.05)

    def socket(self, kind: int, address: str = "") -> Socket:
        """One more socket that `wait` waits for; connected, if an address is given."""
        socket = self._context.socket(kind)
        socket.linger = 1000
        self._poller.register(socket, zmq.POLLIN)
        if address:
            socket.connect(address)
        return socket

    def close(self) -> None:
        """Send what is still to be sent, and let go of the ports."""
        self._context.destroy(linger=1000)

    def wait(self, seconds: float) -> tuple[list[Request], list[Socket]]:
        """Wait for requests, and for other sockets that have something. Heartbeats are answered here. Raises Shutdown."""
        if not self._watch():
            raise Shutdown
        ready = dict(self._poller.poll(int(seconds * 1000)))
        requests = []
        for channel, socket in self._sockets.items():
            if ready.pop(socket, 0):
                requests += self._take(channel, socket.recv_multipart())
        return requests, list(ready)

    def _take(self, channel: str, frames: Frames) -> list[Request]:
        if channel == "hb":
            self._sockets["hb"].send_multipart(frames)
        request = read(channel, frames) if channel != "iopub" else None  # there, it is somebody who begins to listen
        if not request or not self._write.is_genuine(request):
            return []
        if request.kind == "shutdown_request":
            self.reply(request, {"status": "ok", "restart": False})
            raise Shutdown
        return [request]

    def send(self, channel: str, frames: Frames) -> None:
        """Pass on a message as it is."""
        self._sockets[channel].send_multipart(frames)

    def reply(self, request: Request, content: dict[str, Any]) -> None:
        """Answer a request."""
        kind = request.kind.removesuffix("_request") + "_reply"
        self.send(request.channel, [*request.identities, *self._write.frames(kind, content, request.header)])

    def publish(self, kind: str, content: dict[str, Any], parent: dict[str, Any]) -> None:
        """Tell everybody who listens something about a request."""
        self.send("iopub", [f"kernel.scratchlab.{kind}".encode(), *self._write.frames(kind, content, parent)])

    def print(self, text: str, request: Request) -> None:
        """Show a text below the cell of a request."""
        self.publish("stream", {"name": "stderr", "text": text}, request.header)


def _address(facts: dict[str, Any], channel: str) -> str:
    ip, port = facts.get("ip", "127.0.0.1"), facts[f"{channel}_port"]
    return f"ipc://{ip}-{port}" if facts.get("transport") == "ipc" else f"tcp://{ip}:{port}"
