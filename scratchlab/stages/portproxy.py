"""Publishing a port without the kernel's help: a small process that carries bytes from the host into the sandbox.

A socket stays in the network namespace it was made in. So the listening one is made on the host; then the process joins the
sandbox's namespace, and what it connects from then on leaves from there. It needs no cable, no NAT, and no root where the
sandbox belongs to the same user. It costs a copy of every byte, and the server sees the proxy instead of the client.
"""

import contextlib
import selectors
import socket
import time
from typing import NoReturn

from scratchlab.stages import helpers
from scratchlab.stages.helpers import Helper
from scratchlab.stages.ports import Port
from scratchlab.stages.stage import Target

CHUNK = 1 << 16
UDP_IDLE = 60.0  # seconds after which a UDP client is forgotten


def start(target: Target, port: Port, listener: socket.socket, address: str) -> Helper:
    """Carry what comes to `listener` to `address` in the sandbox, for as long as its journal is open."""

    def act(keeper_end: socket.socket) -> NoReturn:
        helpers.enter(target.pid, "net")
        helpers.close_all_but([listener.fileno(), keeper_end.fileno()])
        keeper_end.close()
        (serve_tcp if listener.type == socket.SOCK_STREAM else serve_udp)(listener, (address, port.container))

    return helpers.start(target, act, f"the proxy for {port} cannot enter the sandbox", "apply unshare_net first")


# -- TCP --------------------------------------------------------------------------------------------------------------


class _Pipe:
    """One direction of a connection: what was read from `source` and `sink` has not taken yet."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.waiting = b""
        self.ended = False  # the source has said all
        self.done = False  # and the sink knows

    def move(self) -> None:
        """Read if there is room, write what there is. Raises OSError where one side broke."""
        if not self.waiting and not self.ended:
            with contextlib.suppress(BlockingIOError):
                self.waiting = self.source.recv(CHUNK)
                self.ended = not self.waiting
        if self.waiting:
            with contextlib.suppress(BlockingIOError):
                self.waiting = self.waiting[self.sink.send(self.waiting) :]
        elif self.ended and not self.done:
            self.sink.shutdown(socket.SHUT_WR)  # only this direction: the answer may still come
            self.done = True


class _Connection:
    """A client, the server, and a pipe each way."""

    def __init__(self, loop: selectors.BaseSelector, outer: socket.socket, inner: socket.socket) -> None:
        self.loop = loop
        self.sockets = (outer, inner)
        self.pipes = (_Pipe(outer, inner), _Pipe(inner, outer))
        self.open = True
        self.watch()

    def step(self) -> None:
        """Something happened on one of the sockets."""
        if not self.open:  # by an event on the other socket, a moment ago
            return
        try:
            for pipe in self.pipes:
                pipe.move()
        except OSError:
            self.close()  # reset or refused; closing ours tells the other side
            return
        if all(pipe.done for pipe in self.pipes):
            self.close()
        else:
            self.watch()

    def watch(self) -> None:
        """Wait only for what can move: to be told of what cannot would keep the loop busy."""
        for own in self.sockets:
            reads = any(pipe.source is own and not pipe.waiting and not pipe.ended for pipe in self.pipes)
            writes = any(pipe.sink is own and pipe.waiting for pipe in self.pipes)
            self.forget(own)
            if events := reads * selectors.EVENT_READ | writes * selectors.EVENT_WRITE:
                self.loop.register(own, events, self.step)

    def forget(self, own: socket.socket) -> None:
        """Wait for nothing on this socket."""
        if own in self.loop.get_map():
            self.loop.unregister(own)

    def close(self) -> None:
        """Hang up on both sides."""
        self.open = False
        for own in self.sockets:
            self.forget(own)
            own.close()


def serve_tcp(listener: socket.socket, to: tuple[str, int]) -> NoReturn:
    """Carry every connection of a listening socket to another address."""
    loop = selectors.DefaultSelector()
    listener.setblocking(False)

    def accept() -> None:
        with contextlib.suppress(OSError):  # the client has left again, or there are too many open files
            outer, _ = listener.accept()
            inner = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            for own in (outer, inner):
                own.setblocking(False)
            inner.connect_ex(to)  # goes on by itself; until then nothing can be written to it
            _Connection(loop, outer, inner)

    loop.register(listener, selectors.EVENT_READ, accept)
    while True:
        for key, _events in loop.select():
            key.data()


# -- UDP --------------------------------------------------------------------------------------------------------------


class _Client:
    """Who sends us datagrams, and the socket in the sandbox that stands for them."""

    def __init__(self, address: tuple[str, int], to: tuple[str, int]) -> None:
        self.address = address
        self.inner = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.inner.connect(to)
        self.last = time.monotonic()


class _Datagrams:
    """All clients of one published UDP port."""

    def __init__(self, listener: socket.socket, to: tuple[str, int]) -> None:
        self.listener, self.to = listener, to
        self.clients: dict[tuple[str, int], _Client] = {}
        self.loop = selectors.DefaultSelector()
        self.loop.register(listener, selectors.EVENT_READ, None)

    def carry(self, client: _Client | None) -> None:
        """Take one datagram to where it belongs; one that nobody takes may be lost."""
        with contextlib.suppress(OSError):
            if client:
                self.listener.sendto(client.inner.recv(CHUNK), client.address)
            else:
                data, address = self.listener.recvfrom(CHUNK)
                client = self.clients.get(address) or self.welcome(address)
                client.inner.send(data)
        if client:
            client.last = time.monotonic()

    def welcome(self, address: tuple[str, int]) -> _Client:
        """A new client."""
        client = self.clients[address] = _Client(address, self.to)
        self.loop.register(client.inner, selectors.EVENT_READ, client)
        return client

    def forget_idle(self) -> None:
        """UDP has no end of a connection; those who say nothing for a minute are taken to be gone."""
        for client in [client for client in self.clients.values() if time.monotonic() - client.last > UDP_IDLE]:
            self.loop.unregister(client.inner)
            self.clients.pop(client.address).inner.close()


def serve_udp(listener: socket.socket, to: tuple[str, int]) -> NoReturn:
    """Carry every datagram to another address, from one socket for each client, and the answers back."""
    datagrams = _Datagrams(listener, to)
    while True:
        for key, _events in datagrams.loop.select(UDP_IDLE):
            datagrams.carry(key.data)
        datagrams.forget_idle()
