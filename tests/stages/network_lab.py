"""A machine of its own for network tests: its links, its rules, its sysctls, its state directory, and boxes around it."""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from scratchlab import linux
from scratchlab.journal import Journal
from scratchlab.linux import netlink
from scratchlab.stages import nat, veth
from scratchlab.stages.stage import Target
from tests.conftest import in_child

R = TypeVar("R")


def machine(act: Callable[[], R]) -> R:
    """Do `act` in a child that is a host of its own: new network and mount namespaces, and a /run of its own."""

    def there() -> R:
        linux.unshare(linux.Clone.NEWNET | linux.Clone.NEWNS)
        linux.mount(None, "/", None, linux.Mount.REC | linux.Mount.PRIVATE)
        linux.mount("tmpfs", "/run", "tmpfs")
        linux.write_file("/proc/sys/net/ipv4/ip_forward", "0")  # a new network starts with what the host has at the moment
        netlink.send(netlink.set_up(netlink.LOOPBACK))
        return act()

    return in_child(there)


class Box:
    """A process with a network of its own; as a target it is what a sandbox is to an outside stage."""

    def __init__(self, name: str = "web") -> None:
        self.pid = process_apart()
        self.target = Target(self.pid, Journal.claim(name))

    def inside(self, act: Callable[[], R]) -> R:
        """Do `act` in this box's network."""
        return netlink.in_netns(self.pid, act)

    def end(self) -> None:
        """End the process, and take back what was done for it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.target.journal.close()


def process_apart() -> int:
    """A child in a new network namespace; gives its pid. It ends with us."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        linux.prctl(linux.Prctl.SET_PDEATHSIG, signal.SIGKILL)
        linux.unshare(linux.Clone.NEWNET)
        os.write(writer, b"!")
        while True:
            signal.pause()
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    return pid


def connected(name: str = "web") -> Box:
    """A box with a cable and a way out."""
    box = Box(name)
    veth(box.target)
    nat(box.target)
    return box


def beyond(subnet: str = "198.51.100") -> int:
    """Another host, wired to the machine at .2 of a subnet of which the machine is .1; gives its pid."""
    pid = process_apart()
    netlink.send(netlink.new_veth("uplink", netlink.random_mac(), "eth0", pid))
    netlink.send(netlink.new_address(netlink.index_of("uplink"), f"{subnet}.1/24"))

    def there() -> None:
        link = netlink.index_of("eth0")
        netlink.send(netlink.set_up(1), netlink.set_up(link), netlink.new_address(link, f"{subnet}.2/24"))

    netlink.in_netns(pid, there)
    return pid


# -- traffic: sockets stay in the network they were made in, so one thread can be at both ends ------------------------


def server(port: int = 80, address: str = "0.0.0.0") -> socket.socket:
    """A TCP server that waits for a client."""
    return socket.create_server((address, port))


def client(address: str, port: int) -> socket.socket:
    """A TCP client. What a filter drops never answers; so half a second is as long as any other time."""
    return socket.create_connection((address, port), timeout=0.5)


def meet(listener: socket.socket, caller: socket.socket) -> str:
    """Have a client and its server talk; gives the client's address as the server sees it."""
    with caller, listener.accept()[0] as served:
        caller.settimeout(5)
        caller.sendall(b"ping")
        assert served.recv(16) == b"ping"
        served.sendall(b"pong")
        assert caller.recv(16) == b"pong"
        peer: tuple[str, int] = served.getpeername()
        return peer[0]


def udp(port: int = 0, address: str = "0.0.0.0") -> socket.socket:
    """A UDP socket."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, port))
    made.settimeout(5)
    return made


def echo(listener: socket.socket, caller: socket.socket, to: tuple[str, int]) -> str:
    """Have a datagram go there and come back; gives the sender's address as the server sees it."""
    caller.sendto(b"ping", to)
    data, sender = listener.recvfrom(16)
    listener.sendto(data + b"!", sender)
    answer, answered_by = caller.recvfrom(16)
    assert (answer, answered_by) == (b"ping!", to)
    return str(sender[0])


def refused(attempt: Callable[[], Any]) -> bool:
    """Whether a connection does not come about."""
    with suppress(OSError):
        attempt().close()
        return False
    return True
