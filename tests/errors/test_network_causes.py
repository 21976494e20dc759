"""The network: taken names and ports, missing links and ways. Each is provoked for real, in a network of its own."""

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from scratchlab import linux
from scratchlab.linux import Clone, netlink
from scratchlab.linux.flags import InterfaceFlag
from tests.conftest import needs_root
from tests.errors.provoked import Act, call, nobody, says, without_capabilities

pytestmark = needs_root


def alone(act: Act) -> Act:
    return lambda: (netlink.preload(), linux.unshare(Clone.NEWNET), netlink.send(netlink.set_up(1)), act())


def socket_call(name: str, address: tuple[str, int] | str, family: int = socket.AF_INET) -> None:
    with socket.socket(family) as made:
        call(name, lambda: getattr(made, name)(address), addr=str(address))


# What this program is called: python3, or pytest where that was started as a script.
OURSELVES = Path("/proc/self/comm").read_text().strip()


def taken_port() -> None:
    with socket.socket() as first:
        first.bind(("127.0.0.1", 8080))
        first.listen()
        socket_call("bind", ("127.0.0.1", 8080))


def just_closed() -> None:
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 8080))
        server.listen()
        client.connect(("127.0.0.1", 8080))
        server.accept()[0].close()  # who closes first keeps the port
        while client.recv(1):
            pass
    socket_call("bind", ("127.0.0.1", 8080))


def taken_path() -> None:
    path = f"/tmp/scratchlab-socket-{os.getpid()}"
    try:
        for _ in range(2):
            socket_call("bind", path, socket.AF_UNIX)
    finally:
        Path(path).unlink()


def left_socket() -> None:
    path = f"/tmp/scratchlab-socket-{os.getpid()}"
    try:
        socket_call("bind", path, socket.AF_UNIX)
        socket_call("connect", path, socket.AF_UNIX)
    finally:
        Path(path).unlink()


def veth(name: str) -> None:
    netlink.send(netlink.new_veth(name, netlink.random_mac(), f"{name}-far", os.getpid()))


def as_nobody(act: Callable[[], None]) -> Act:
    return lambda: (nobody(), act())


def twice(act: Callable[[], object]) -> Act:
    return alone(lambda: [act() for _ in range(2)])


def same_route() -> None:
    netlink.send(netlink.new_address(1, "10.0.0.1/8"))
    for _ in range(2):
        netlink.send(netlink.new_route("10.0.0.2", "10.9.0.0/16"))


CASES: dict[str, tuple[Act, str, str]] = {
    "link missing": (alone(lambda: linux.set_flags("eth7", InterfaceFlag.UP)), "ENODEV", "no link eth7 .*, which has: lo"),
    "name of a link taken": (twice(lambda: veth("one")), "EEXIST", "is taken by another link"),
    "address taken": (
        twice(lambda: netlink.send(netlink.new_address(1, "10.0.0.1/8"))),
        "EEXIST",
        "has the address 10.0.0.1/8 already",
    ),
    "route taken": (alone(same_route), "EEXIST", "there is a route to 10.9.0.0/16 already"),
    "no way there": (alone(lambda: socket_call("connect", ("10.1.2.3", 80))), "ENETUNREACH", "has 0 routes; links: lo"),
    "gateway nowhere": (
        alone(lambda: netlink.send(netlink.new_route("2001:db8::1"))),
        "EHOSTUNREACH",
        "the gateway 2001:db8::1 is on no subnet",
    ),
    "port taken": (alone(taken_port), "EADDRINUSE", rf"port 8080 is taken by \d+ \({re.escape(OURSELVES)}"),
    "port of a connection just closed": (alone(just_closed), "EADDRINUSE", "closed a moment ago.*SO_REUSEADDR"),
    "path taken": (taken_path, "EADDRINUSE", "exists already: a socket's file stays when its owner ends"),
    "address of nobody": (alone(lambda: socket_call("bind", ("10.1.2.3", 80))), "EADDRNOTAVAIL", "has the address 10.1.2.3"),
    "low port": (as_nobody(lambda: socket_call("bind", ("127.0.0.1", 80))), "EACCES", "ports below 1024 need CAP_NET_BIND"),
    "nobody listens": (alone(lambda: socket_call("connect", ("127.0.0.1", 81))), "ECONNREFUSED", "nobody listens on port 81"),
    "socket left behind": (left_socket, "ECONNREFUSED", "is a socket that nobody listens on any more"),
    "socket missing": (lambda: socket_call("connect", "/run/nowhere", socket.AF_UNIX), "ENOENT", "no socket /run/nowhere"),
    "network without rights": (
        alone(lambda: (without_capabilities(), linux.set_flags("lo", InterfaceFlag.UP))),
        "EPERM",
        "CAP_NET_ADMIN is missing",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_cause_that_lies_in_the_network_is_found(name: str) -> None:
    says(*CASES[name])
