"""Bait on the network: servers of the host that a container should not reach, and a neighbour on a switch of our own."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from scratchlab.container import Container
from scratchlab.errors import StageError
from scratchlab.sandbox import Sandbox
from scratchlab.stages import bridge, step, unshare_net
from scratchlab.stages.stage import namespaces_of
from scratchlab.trials.baits import Bait, bait
from scratchlab.trials.lab import Lab, greeting, listening


@bait("abstract_socket")
def abstract_server(lab: Lab, _container: Container | None) -> Iterator[Bait]:
    """A server of the host with an abstract address."""
    name = f"scratchlab-{os.urandom(4).hex()}"
    with listening(socket.AF_UNIX, f"\0{name}") as server:
        yield Bait(lambda _: (name, lab.secret), lambda *_: _came(server, lab))


@bait("gateway_service")
def gateway_server(lab: Lab, _container: Container | None) -> Iterator[Bait]:
    """A server of the host at the container's gateway, or at the loopback address that they share."""
    with ExitStack() as stack:
        servers: list[socket.socket] = []

        def told(box: Sandbox) -> tuple[str, int, str]:
            apart = namespaces_of(box.pid, ["net"]) != namespaces_of("self", ["net"])
            address = (gateway_of(box.pid) if apart else "") or "127.0.0.1"
            servers.append(stack.enter_context(listening(socket.AF_INET, (address, 0))))
            return address, servers[0].getsockname()[1], lab.secret

        yield Bait(told, lambda *_: _came(servers[0], lab))


def _came(server: socket.socket, lab: Lab) -> str:
    return "it spoke to the host's server" if greeting(server) == lab.secret else ""


def gateway_of(pid: int) -> str:
    """The default gateway in a process's network, or "".  proc_pid_net(5)"""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/route").read_text().splitlines()[1:]]
    found = [row[2] for row in rows if row[1] == "00000000" and row[2] != "00000000"]
    return socket.inet_ntoa(struct.pack("=I", int(found[0], 16))) if found else ""


@bait("arp_spoof")
def victim_on_a_switch(_lab: Lab, container: Container | None) -> Iterator[Bait]:
    """A switch of our own, with a victim on it, and a cable from it to the container."""
    if container is None or container.network == "host" or "unshare_net" in container.left_out:
        raise StageError("it needs a container with a network of its own, and here is none")
    switch = f"lab{os.urandom(4).hex()}"
    with Sandbox("victim") as victim:
        wiring = _plug(victim, switch, step(unshare_net))
        real = Path(f"/sys/class/net/{switch}/address").read_text().strip()

        def told(box: Sandbox) -> tuple[str, str, str]:
            return _plug(box, switch)["link"], wiring["gateway"], wiring["address"]

        def look(*_: object) -> str:
            rows = [line.split() for line in Path(f"/proc/{victim.pid}/net/arp").read_text().splitlines()]
            wrong = [row[3] for row in rows if row[0] == wiring["gateway"] and row[3] != real]
            return f"the victim sends to {wrong[0]} what is for its gateway, {real}" if wrong else ""

        yield Bait(told, look, container._replace(network="none", publish=()))


def _plug(box: Sandbox, switch: str, *before: Any) -> dict[str, str]:
    """Connect a sandbox to the switch. Gives how it is wired."""
    wired: dict[str, str] = box.play([*before, step(bridge, switch)])[-1]["value"]
    return wired
