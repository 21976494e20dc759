"""The way of one real packet: it is sent, and the packet filter tells of every rule that it met.  nft(8)

A table of our own marks the packet where it begins, and looks at it again at the end of each hook, so that the addresses are
known before and after every rule that changes them. The table is in the journal, and gone when the packet has arrived.
"""

import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, TypeVar

from scratchlab.errors import HostError, InputError, KernelError
from scratchlab.linux import netlink, nftables
from scratchlab.linux.nftrace import Event, endpoint, listening
from scratchlab.stages.stage import Target

R = TypeVar("R")
Ends = tuple[str, str]  # source and destination, with their ports

PATIENCE = 0.8  # seconds; after one second the kernel would send the packet again
_TABLE, _FIRST = "scratchlab-trace", "first-"
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")


class Match(NamedTuple):
    """One rule that the packet matched."""

    chain: str  # with its table: "scratchlab-web postrouting"
    rule: str  # in nft's words; "policy" where the end of the chain decided
    verdict: str  # "accept", "drop" …


class Hop(NamedTuple):
    """One hook that the packet came through."""

    where: str  # "host" or "inside"
    hook: str
    link: str  # by which it arrived (prerouting) or leaves (postrouting)
    before: tuple[str, str]  # source and destination
    matches: tuple[Match, ...]
    after: tuple[str, str]


class Journey(NamedTuple):
    """All that happened to one packet, and what came back."""

    hops: tuple[Hop, ...]
    outcome: str  # "answered", "refused", "no answer", or what the kernel said

    @classmethod
    def from_data(cls, data: Sequence[Any]) -> "Journey":
        """The journey that came as JSON, which has no tuples."""
        hops, outcome = data
        return cls(tuple(_hop_from_data(*hop) for hop in hops), outcome)


def _hop_from_data(where: str, hook: str, link: str, before: Any, matches: Any, after: Any) -> Hop:
    return Hop(where, hook, link, (before[0], before[1]), tuple(Match(*match) for match in matches), (after[0], after[1]))


def follow(target: Target, address: str, port: int, protocol: str = "tcp", inside: bool = False) -> Journey:
    """Send one packet, from the host or from inside, and tell its way.

    Raises HostError where that is not ours to do.
    """
    if not nftables.available():
        raise HostError(
            "a packet is followed by rules of nftables, and this program may make none", "use sudo; apt install nftables"
        )
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    family, anywhere = (socket.AF_INET6, "::") if ":" in address else (socket.AF_INET, "0.0.0.0")
    apart = os.readlink(f"/proc/{target.pid}/ns/net") != os.readlink("/proc/self/ns/net")
    places: dict[str, Callable[[Callable[[], Any]], Any]] = {"host": _here}
    if apart:
        places["inside"] = lambda act: netlink.in_netns(target.pid, act)
    first = "inside" if inside and apart else "host"
    with ExitStack() as stack:
        sender = stack.enter_context(places[first](lambda: socket.socket(family, kind)))
        sender.bind((anywhere, 0))
        # By its port, our packet is told from all others on this machine; NAT keeps it where it can.
        marked = f"{protocol} sport {sender.getsockname()[1]}"
        traced = {where: stack.enter_context(_traced(target, where, go, marked)) for where, go in places.items()}
        outcome = _send(sender, address, port)
        told = {where: tell() for where, tell in traced.items()}
    # There, and back: what was sent to the sender's own service comes home by the cable by which it left.
    order = [first, *(where for where in told if where != first), *([first] if apart else [])]
    return Journey(tuple(hops_of(order, told, endpoint(address, port))), outcome)


def _here(act: Callable[[], R]) -> R:
    return act()


def _send(sender: socket.socket, address: str, port: int) -> str:
    sender.settimeout(PATIENCE)
    try:
        sender.connect((address, port))
        if sender.type == socket.SOCK_DGRAM:
            sender.send(b"scratchlab")
            return "sent"
    except TimeoutError:
        return "no answer"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return f"{os.strerror(error.errno or 0)} ({KernelError.symbol(error.errno or 0)})"
    return "answered"


# -- the table --------------------------------------------------------------------------------------------------------


class Told(NamedTuple):
    """What one network namespace told: the events, its rules by table and handle, and its links by index."""

    events: Sequence[Event]
    rules: Mapping[tuple[str, int], str]
    hooks: Mapping[tuple[str, str], str]  # of each chain by table and name
    links: Mapping[int, str]


@contextmanager
def _traced(target: Target, where: str, go: Callable[[Callable[[], Any]], Any], marked: str) -> Iterator[Callable[[], Told]]:
    """Our table, in one network namespace, while the `with` block runs. Gives a function that says what was told."""
    comment = os.urandom(8).hex()
    table = f"{_TABLE}-{target.name}"
    if where == "host":  # the sandbox's own namespace takes its tables along when it goes
        target.journal.will("nft_table", name=f"inet {table}", comment=comment)
    with ExitStack() as stack:
        listener = listening()
        heard = go(listener.__enter__)  # there: a socket stays in the network that it was made in
        stack.push(listener.__exit__)
        go(lambda: nftables.run(_tracing_rules(table, comment, marked)))
        stack.callback(lambda: go(lambda: nftables.remove_table(f"inet {table}", comment)))
        yield lambda: go(lambda: _told(heard()))


def _tracing_rules(table: str, comment: str, marked: str) -> str:
    lines = [f'create table inet {table} {{ comment "{comment}"; }}']
    for hook in _HOOKS:
        lines.append(f"add chain inet {table} {hook} {{ type filter hook {hook} priority 400; }}")
        lines.append(f"add rule inet {table} {hook} counter")
    for hook in ("prerouting", "output"):  # where a packet begins
        lines.append(f"add chain inet {table} {_FIRST}{hook} {{ type filter hook {hook} priority -450; }}")
        lines.append(f"add rule inet {table} {_FIRST}{hook} {marked} meta nftrace set 1")
    return "\n".join(lines)


def _told(events: Sequence[Event]) -> Told:
    rules: dict[tuple[str, int], str] = {}
    hooks: dict[tuple[str, str], str] = {}
    for table in dict.fromkeys(event.table for event in events):
        found = parse_rules(nftables.with_handles(table))
        rules |= {(table, handle): rule for handle, rule in found.rules.items()}
        hooks |= {(table, chain): hook for chain, hook in found.hooks.items()}
    return Told(events, rules, hooks, dict(socket.if_nameindex()))


class Rules(NamedTuple):
    """What `nft --handle list table` says: the rules by handle, and the hook of each chain that has one."""

    rules: dict[int, str]
    hooks: dict[str, str]


def parse_rules(text: str) -> Rules:
    """Read a table as nft prints it with handles.  nft(8)"""
    found = Rules({}, {})
    chain = ""
    for line in text.splitlines():
        words, _, handle = line.strip().rpartition(" # handle ")
        if words.startswith("chain "):
            chain = words.removeprefix("chain ").partition(" ")[0]
        elif hook := re.match(r"\s*type \w+ hook (\w+)", line):
            found.hooks[chain] = hook[1]
        elif words and handle.isdecimal() and len(handle) < 20 and not words.endswith("{"):
            found.rules[int(handle)] = re.sub(r"counter packets \d+ bytes \d+ ?", "", words)
    return found


# -- from events to hops ----------------------------------------------------------------------------------------------


def hops_of(order: Sequence[str], told: Mapping[str, Told], destination: str) -> list[Hop]:
    """The hooks in the order of the packet's way.

    What leaves one namespace is what has the same addresses in the next.
    """
    hops: list[Hop] = []
    shown: set[tuple[str, int]] = set()
    at: Ends | None = None
    for number, where in enumerate(order):
        events = told[where].events
        if where in order[:number]:
            events = arrivals([event for event in events if (where, event.packet) not in shown])
        for event in followed(events, at, destination):
            shown.add((where, event.packet))
            at = (event.source, event.destination) if event.source else at
            assert at is not None
            _add(hops, where, event, told[where], at)
    return hops


def arrivals(events: Sequence[Event]) -> list[Event]:
    """The events of packets that came by a link, and were not sent from here."""
    own = {event.packet for event in events if event.chain == f"{_FIRST}output" or event.link_in == netlink.LOOPBACK}
    return [event for event in events if event.packet not in own]


def followed(events: Sequence[Event], at: Ends | None, destination: str) -> Iterator[Event]:
    """The events of one packet, the first with these addresses, among all that was told.

    Over a link, it keeps its addresses, and gets another number.
    """
    packets: set[int] = set()
    begun: set[str] = set()
    for event in events:
        if event.chain.startswith(_FIRST) and event.handle:
            if event.chain in begun:
                return  # that is the connection's second packet
            begun.add(event.chain)
        known = event.destination == destination if at is None else (event.source, event.destination) == at
        if known and event.source:
            packets.add(event.packet)
        if event.packet in packets:
            at = (event.source, event.destination) if event.source else at
            yield event


def _add(hops: list[Hop], where: str, event: Event, told: Told, at: Ends) -> None:
    """Note what an event says: a hook that was come to, the addresses that it has by now, a rule that matched."""
    hook = told.hooks.get((event.table, event.chain), "")
    if not hops or (hops[-1].where, hops[-1].hook) != (where, hook):
        hops.append(Hop(where, hook, "", hops[-1].after if hops else at, (), at))
    hop = hops[-1]
    index = {"prerouting": event.link_in, "postrouting": event.link_out}.get(hook, 0)
    link = told.links.get(index, hop.link)
    hops[-1] = hop._replace(link=link, after=at, matches=hop.matches + _match(event, told))


def _match(event: Event, told: Told) -> tuple[Match, ...]:
    """The rule that an event is about, if it is one of somebody's, or the end of a chain that drops."""
    table = event.table.split()[-1]
    rule = told.rules.get((event.table, event.handle), "") if event.kind == "rule" else "policy"
    if table.startswith(_TABLE) or not rule or (rule == "policy" and event.verdict != "drop"):
        return ()
    return (Match(f"{table} {event.chain}", rule, event.verdict),)


# -- what may be asked for --------------------------------------------------------------------------------------------


def parse_endpoint(text: str) -> tuple[str, int, str]:
    """Read ADDRESS:PORT[/tcp|/udp], where an IPv6 address stands in brackets. Raises InputError."""
    place, _, protocol = text.partition("/")
    address, _, port = place.rpartition(":")
    inner = address[1:-1] if address[:1] + address[-1:] == "[]" else ""
    try:
        socket.inet_pton(socket.AF_INET6 if inner else socket.AF_INET, inner or address)
    except (OSError, ValueError):
        raise InputError(f"{text!r} is not an address with a port", "write it as 127.0.0.1:8080 or [::1]:8080") from None
    if not (re.fullmatch("[0-9]{1,9}", port) and 1 <= int(port) <= 65535):
        raise InputError(f"{text!r}: {port!r} is not a port", "ports go from 1 to 65535")
    if protocol not in ("", "tcp", "udp"):
        raise InputError(f"{text!r}: {protocol!r} is neither tcp nor udp", "write it as 127.0.0.1:53/udp")
    return inner or address, int(port), protocol or "tcp"
