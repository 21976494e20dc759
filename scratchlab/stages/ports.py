"""Ports of the host that lead into a sandbox: reading them, reserving them, and saying who has them.  ip(7)"""

import ipaddress
import re
import socket
from typing import NamedTuple

from scratchlab import journal
from scratchlab.errors import HostError, InputError, KernelError, facts
from scratchlab.stages.stage import Target

EVERYWHERE = "0.0.0.0"
_SHAPE = "[IP:]HOST:CONTAINER[/tcp|/udp], such as 8080:80 or 127.0.0.1:5353:53/udp"


class Port(NamedTuple):
    """One published port."""

    ip: str  # the host's address where it is reachable, or 0.0.0.0 for all of them
    host: int
    container: int
    protocol: str  # "tcp" or "udp"

    def __str__(self) -> str:
        return f"{self.ip}:{self.host}:{self.container}/{self.protocol}"


def parse_publish(text: str) -> Port:
    """Read `[IP:]HOST:CONTAINER[/tcp|/udp]`. Raises InputError that says which part is wrong."""
    if "[" in text or text.count(":") > 2:
        raise InputError(f"cannot publish {text!r}: IPv6 is not supported", f"write {_SHAPE}")
    ports, _, protocol = text.partition("/")
    if "/" in text and protocol not in ("tcp", "udp"):
        raise InputError(f"cannot publish {text!r}: {protocol!r} is neither tcp nor udp", f"write {_SHAPE}")
    parts = ports.split(":")
    if len(parts) < 2:
        raise InputError(f"cannot publish {text!r}: it needs a port here and a port in the container", f"write {_SHAPE}")
    ip = _parse_ip(parts[0], text) if len(parts) == 3 else EVERYWHERE
    return Port(ip, _parse_port(parts[-2], text), _parse_port(parts[-1], text), protocol or "tcp")


def _parse_port(word: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", word):
        raise InputError(f"cannot publish {text!r}: {word!r} is not a port number", f"write {_SHAPE}")
    if not 1 <= int(word) <= 65535:
        raise InputError(f"cannot publish {text!r}: port {word} is out of range", "ports go from 1 to 65535")
    return int(word)


def _parse_ip(word: str, text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(word))
    except ValueError:
        raise InputError(f"cannot publish {text!r}: {word!r} is not an IPv4 address", f"write {_SHAPE}") from None


# -- reserving --------------------------------------------------------------------------------------------------------


def reserve(port: Port) -> socket.socket:
    """Take a port on the host, so that nobody else can. Raises HostError that says who has it."""
    kind = socket.SOCK_STREAM if port.protocol == "tcp" else socket.SOCK_DGRAM
    taken = socket.socket(socket.AF_INET, kind)
    try:
        if port.protocol == "tcp":
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # or a recent connection would block it for a minute
        taken.bind((port.ip, port.host))
        if port.protocol == "tcp":
            taken.listen(128)  # one that only binds, with SO_REUSEADDR, would not be in the way of another
    except OSError as error:
        taken.close()
        raise _explained(error, port) from None
    return taken


def note(target: Target, *published: Port) -> None:
    """Write down which ports are published, for `scratchlab ps` and for whoever finds one taken."""
    target.facts.setdefault("ports", []).extend(list(port) for port in published)
    target.journal.fact(ports=target.facts["ports"])


def _explained(error: OSError, port: Port) -> HostError | KernelError:
    number = error.errno or 0
    if KernelError.symbol(number) == "EADDRINUSE":
        return HostError(f"port {port.host}/{port.protocol} is in use by {holder(port)}", "publish another one, or stop it")
    if KernelError.symbol(number) == "EADDRNOTAVAIL":
        return HostError(f"{port.ip} is not an address of this host", "see: ip -brief address")
    return KernelError("bind", {"addr": f"{port.ip}:{port.host}"}, number)


def holder(port: Port) -> str:
    """Who has a port, in words: a sandbox of ours, or a program with its pid."""
    for entries in journal.journals():
        if any(_collide(port, Port(*other)) for other in entries.facts.get("ports", [])):
            return f"sandbox {entries.name!r}"
    sockets = facts.sockets_on(port.host, [port.protocol])
    taking = [socket.link for socket in sockets if socket.state == facts.LISTENS or port.protocol == "udp"]
    for pid in facts.holders(taking):
        return f"{facts.command(pid)} (pid {pid})"
    return "another program, which /proc does not show to this user"


def _collide(one: Port, other: Port) -> bool:
    same_address = one.ip == other.ip or EVERYWHERE in (one.ip, other.ip)
    return same_address and (one.host, one.protocol) == (other.host, other.protocol)
