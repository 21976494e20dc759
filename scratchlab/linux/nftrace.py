"""Where a packet went: what the packet filter tells of packets that a rule has marked.  nft(8), `meta nftrace set 1`

    with listening() as heard:
        …                       # send something that a rule marks
        events = heard()        # all that was told so far

The kernel tells only those who listen already, so this is a socket of ours and not `nft monitor trace`, of which nobody can
say when it is ready. The messages are struct nlmsghdr, struct nfgenmsg, then attributes.  linux/netfilter/nf_tables.h
"""

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from scratchlab.linux.ledger import Bare, record

_NETLINK_NETFILTER, _SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTRACE = 12, 270, 1, 9
_SUBSYSTEM_NFTABLES, _MSG_TRACE = 10, 17
_TABLE, _CHAIN, _HANDLE, _KIND, _VERDICT, _PACKET, _NETWORK, _TRANSPORT, _IIF, _OIF, _POLICY = 1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 16
_KINDS = {1: "policy", 2: "return", 3: "rule"}
_VERDICTS = {0: "drop", 1: "accept", 3: "queue", -1: "continue", -2: "break", -3: "jump", -4: "goto", -5: "return"}
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_PORTS = (socket.IPPROTO_TCP, socket.IPPROTO_UDP)


class _Header(NamedTuple):
    """Where the header of one version of IP has what we want."""

    family: socket.AddressFamily
    length: int
    protocol: int
    ends: tuple[int, int]
    width: int  # of an address


_HEADERS = {4: _Header(socket.AF_INET, 20, 9, (12, 16), 4), 6: _Header(socket.AF_INET6, 40, 6, (8, 24), 16)}


class Event(NamedTuple):
    """One rule that a marked packet matched, or one chain that it came to the end of."""

    packet: int  # the kernel's number for it; new after each link that it goes over
    table: str  # with its family: "ip scratchlab-web"
    chain: str
    kind: str  # "rule", "policy" or "return"
    handle: int  # of the rule, as `nft --handle list table` has it; 0 if it is not about one
    verdict: str  # "accept", "drop", "continue" …
    source: str  # with the port, as it was before the rule did anything; "" where the message does not say
    destination: str
    link_in: int  # by index; 0 if it came from nowhere
    link_out: int


def parse_trace(data: bytes) -> Event | None:
    """One message of the kernel as an event; None if it is about something else."""
    if len(data) < 20:
        return None
    length, kind = struct.unpack_from("=IH", data)
    if kind != _SUBSYSTEM_NFTABLES << 8 | _MSG_TRACE:
        return None
    found = dict(_attributes(data[20:length]))
    source, destination = _addresses(found.get(_NETWORK, b""), found.get(_TRANSPORT, b""))
    return Event(
        packet=_number(found.get(_PACKET)),
        table=f"{_FAMILIES.get(data[16], str(data[16]))} {_name(found.get(_TABLE))}",
        chain=_name(found.get(_CHAIN)),
        kind=_KINDS.get(_number(found.get(_KIND)), "other"),
        handle=_number(found.get(_HANDLE)),
        verdict=_verdict(found),
        source=source,
        destination=destination,
        link_in=_number(found.get(_IIF)),
        link_out=_number(found.get(_OIF)),
    )


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each attribute; a length that leads nowhere ends it.  netlink(7)"""
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if not 4 <= length <= len(data) - at:
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += length + 3 & ~3


def _number(value: bytes | None) -> int:
    return int.from_bytes(value or b"", "big")


def _name(value: bytes | None) -> str:
    return (value or b"").rstrip(b"\0").decode(errors="replace")


def _verdict(found: dict[int, bytes]) -> str:
    nested = dict(_attributes(found[_VERDICT])).get(1, b"") if _VERDICT in found else found.get(_POLICY, b"")
    return _VERDICTS.get(int.from_bytes(nested, "big", signed=True), "") if nested else ""


def _addresses(network: bytes, transport: bytes) -> tuple[str, str]:
    """Where a packet comes from and goes to, out of its header and the ports behind it.  ip(7), ipv6(7)"""
    layout = _HEADERS.get(network[0] >> 4 if network else 0)
    if not layout or len(network) < layout.length:
        return "", ""
    ends = [socket.inet_ntop(layout.family, network[at : at + layout.width]) for at in layout.ends]
    if network[layout.protocol] in _PORTS and len(transport) >= 4:
        ends = [endpoint(address, port) for address, port in zip(ends, struct.unpack_from("!HH", transport), strict=True)]
    return ends[0], ends[1]


def endpoint(address: str, port: int) -> str:
    """An address with a port: 127.0.0.1:80, or [::1]:80."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@contextmanager
def listening() -> Iterator[Callable[[], list[Event]]]:
    """Listen in this thread's network namespace. Gives a function that says what came since the last call."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER) as kernel:
        kernel.bind((0, 0))
        join = {"level": Bare("SOL_NETLINK"), "optname": Bare("NETLINK_ADD_MEMBERSHIP"), "optval": Bare("NFNLGRP_NFTRACE")}
        record("setsockopt", join, lambda: kernel.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTRACE))
        yield lambda: list(_received(kernel))


def _received(kernel: socket.socket) -> Iterator[Event]:
    while True:
        try:
            data = kernel.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # some did not fit: what follows is still true
                raise
            continue
        if event := parse_trace(data):
            yield event
