"""Networks for lessons: a server that tells each caller by which address it knows it, a caller, and cables by hand.

All are plain functions: called in a notebook they act on the host, applied to a sandbox in there.
"""

import os
import signal
import socket
from typing import NoReturn

from scratchlab import linux
from scratchlab.errors import KernelError
from scratchlab.linux import netlink

FORWARDING = "/proc/sys/net/ipv4/ip_forward"  # each network has its own
CONNECTING, READING = 0.5, 5.0  # seconds: who connects at all has an answer soon, though not on a busy machine at once


def listen(port: int, address: str = "0.0.0.0") -> str:
    """A server, in a child that ends with its parent. It is there when this returns, with where it listens."""
    server = socket.create_server((address, port))
    child = os.fork()
    if child == 0:
        _serve(server)
    server.close()
    return f"listens at {address} port {port}"


def _serve(server: socket.socket) -> NoReturn:
    try:
        linux.prctl(linux.Prctl.SET_PDEATHSIG, signal.SIGKILL)
        kept = server.fileno()
        # What else is open is a conversation of our parent's, and must be seen to end when the parent ends it.
        os.closerange(3, kept)
        os.closerange(kept + 1, 1 << 10)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        while True:
            caller, (address, _) = server.accept()
            with caller:
                caller.sendall(address.encode())
    finally:
        os._exit(1)


def ask(address: str, port: int) -> str:
    """What a server says: the address that it knows us by. Or the errno, or that no answer came.  connect(2)"""
    try:
        with socket.socket() as caller:
            caller.settimeout(CONNECTING)
            caller.connect((address, port))
            caller.settimeout(READING)
            return caller.recv(100).decode()
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return KernelError.symbol(error.errno or 0)


def has_way_to(address: str) -> bool:
    """Whether a route leads there. No packet is sent: a datagram socket only looks up which way it would go.  connect(2)"""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as looking:
            looking.connect((address, 9))
    except OSError:
        return False
    return True


def cable(near: str, far: str, pid: int) -> None:
    """A cable with one end here, and the other in the network of a process.  veth(4)"""
    netlink.send(netlink.new_veth(near, netlink.random_mac(), far, pid))


def plug_in(link: str, address: str) -> None:
    """Switch a link on, and give it an address.  ip-address(8)"""
    index = netlink.index_of(link)
    netlink.send(netlink.set_up(index), netlink.new_address(index, address))
