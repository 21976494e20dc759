"""A private network: what many believe, and experiments that refute it."""

import socket
from pathlib import Path
from tempfile import TemporaryDirectory

from scratchlab import linux, stages
from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.lessons.experiments import inside
from scratchlab.lessons.network import ask, listen


def ask_oneself_in_a_new_network() -> str:
    """Leave the host's network, listen, and ask at 127.0.0.1."""

    def act() -> str:
        listen(80)
        answer = ask("127.0.0.1", 80)
        return "" if answer == "127.0.0.1" else answer

    return str(inside(act, stages.unshare_net))


def listen_in_an_empty_network() -> bool:
    """Make a server where every link is down."""
    return bool(inside(lambda: listen(80), stages.unshare_net))


def connection_survives_leaving() -> bool:
    """Connect to a server of the host, leave its network, and only then speak."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()

        def act() -> None:
            old = socket.create_connection(tuple(address))
            linux.unshare(linux.Clone.NEWNET)
            old.sendall(b"still here")

        inside(act)
        caller, _ = server.accept()
        with caller:
            return caller.recv(100) == b"still here"


def unix_socket_by_its_path() -> bool:
    """Leave the host's network, and connect to a server of the host whose address is a file."""
    with TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as server:
        path = str(Path(place, "socket"))
        server.bind(path)
        server.listen()

        def act() -> bool:
            with socket.socket(socket.AF_UNIX) as caller:
                return caller.connect_ex(path) == 0

        return bool(inside(act, stages.unshare_net))


BELIEFS = {
    "lo-is-always-there": Belief(
        "127.0.0.1 works on every machine, whatever its network.",
        "A program in a new network namespace asks a server beside it, at 127.0.0.1. What does the kernel say?",
        {"nothing, it works": "", "ECONNREFUSED": "ECONNREFUSED", "ENETUNREACH": "ENETUNREACH"},
        ask_oneself_in_a_new_network,
    ),
    "no-network-no-sockets": Belief(
        "Without a network, a program cannot open a port.",
        "In a new network namespace every link is down. Can a program there bind to port 80 and listen?",
        {"no, there is no network": False, "yes, a port is an entry in a table": True},
        listen_in_an_empty_network,
    ),
    "leaving-cuts-connections": Belief(
        "A process that leaves a network loses its connections.",
        "A process is connected to a server of the host, and then unshares its network. Does what it sends arrive?",
        {"no, it is not in that network any more": False, "yes": True},
        connection_survives_leaving,
    ),
    "a-network-of-its-own-cuts-unix-sockets": Belief(
        "A network namespace isolates every socket.",
        "A server of the host has the address /tmp/socket. A process in another network connects to it. Does it get through?",
        {"no, the networks are two": False, "yes, by the file": True},
        unix_socket_by_its_path,
    ),
}  # fmt: skip
