"""How a sandbox is wired: its links, the cable to the host, the bridge, and the rules for what goes out and comes in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scratchlab import journal
from scratchlab.linux.netlink import Address, Link
from scratchlab.observe import Snapshot
from scratchlab.sandbox import Sandbox
from scratchlab.stages.ports import Port
from scratchlab.views.picture import WIDEST, Picture, table
from scratchlab.views.subject import host
from scratchlab.views.svg import Drawing, shortened, wrapped

_LINK, _GAP, _MOST = 24, 3, 3  # columns of a link, and between two; how many have room


class End(NamedTuple):
    """A link as it is drawn."""

    name: str
    kind: str  # "veth", "bridge", or "" for hardware and loopback
    up: bool
    addresses: tuple[str, ...]

    def words(self) -> tuple[str, str]:
        """Its name, and what else there is to say."""
        state = "" if self.up else "down"
        return self.name, "  ".join(word for word in (self.kind, *self.addresses, state) if word)


@dataclass(frozen=True, repr=False)
class Network(Picture):
    """The network of a sandbox, from its own links to the host's rules."""

    name: str
    apart: bool  # whether it has a network namespace of its own
    links: tuple[End, ...]
    cable: int | None  # which of the links the cable is plugged into
    gateway: str  # "" where there is no way out
    ends: tuple[End, ...]  # on the host: the other end of the cable, then the bridge that it is a port of
    ports: tuple[str, ...]  # published, in words
    rules: tuple[tuple[str, str], ...]  # chain and rule, of the sandbox's own table

    @property
    def title(self) -> str:
        """Whose network."""
        return f"network of {self.name}" + ("" if self.apart else ": the host's own network namespace")

    def lines(self) -> list[str]:
        """Inside first, then the host's side of the cable, then its rules."""
        rows = [(self.name, *link.words()) for link in self.links]
        rows += [(self.name, "route", f"default via {self.gateway}")] if self.gateway else []
        rows += [("host", *end.words()) for end in self.ends]
        rows += [("host", "port", port) for port in self.ports]
        rows += [("host", chain, rule) for chain, rule in self.rules]
        return table(rows) if self.apart else []

    def draw(self, drawing: Drawing) -> None:
        """The sandbox above, the host below, the cable between them."""
        if not self.apart:
            drawing.text(0, 1.5, "every link, address, route and rule of the host is this sandbox's too", "quiet")
            return
        inside = 2.2 + 2.7 * bool(self.links)
        drawing.box(0, 1.6, WIDEST, inside - 0.4, "own", dashed=True)
        drawing.text(1, 1.7, shortened(self.name, 40), bold=True)
        if self.gateway:
            drawing.text(WIDEST - 24, 1.7, shortened(f"way out: {self.gateway}", 23), "quiet")
        self._draw_links(drawing, self.links, 3.0)
        if self.ends:
            self._draw_host(drawing, inside + 2.2)

    def _draw_links(self, drawing: Drawing, links: Sequence[End], row: float) -> None:
        for number, link in enumerate(links[:_MOST]):
            _draw_link(drawing, link, 1 + number * (_LINK + _GAP), row)
        if len(links) > _MOST:
            drawing.text(36, 1.7, f"and {len(links) - _MOST} more", "quiet")

    def _draw_host(self, drawing: Drawing, top: float) -> None:
        """The frame of the host, and the cable that leads there."""
        ports = [line for port in self.ports for line in wrapped(f"published: {port}", WIDEST - 2)]
        told = ports + [line for chain, rule in self.rules for line in wrapped(f"{chain}: {rule}", WIDEST - 2)]
        drawing.box(0, top, WIDEST, 4.4 + 1.15 * len(told), "shared", dashed=True)
        drawing.text(1, top + 0.1, "host", bold=True)
        middle = 1 + (self.cable or 0) * (_LINK + _GAP) + _LINK / 2
        drawing.line([(middle, 5.2), (middle, top + 1.4)], "own")
        for number, end in enumerate(self.ends):
            column = middle - _LINK / 2 + number * (_LINK + _GAP)
            _draw_link(drawing, end, column, top + 1.4)
            if number:
                drawing.line([(column - _GAP, top + 2.5), (column, top + 2.5)], "own")
        for number, words in enumerate(told):
            drawing.text(
                1, top + 4.1 + number * 1.15, shortened(words, WIDEST - 2), "ink" if number < len(self.ports) else "quiet"
            )


def _draw_link(drawing: Drawing, link: End, column: float, row: float) -> None:
    drawing.box(column, row, _LINK, 2.2)
    name, words = link.words()
    drawing.text(column + 1, row + 0.05, shortened(name, _LINK - 2), bold=True)
    drawing.text(column + 1, row + 1.05, shortened(words, _LINK - 2), "ink" if link.up else "alarm")


# -- from snapshots ---------------------------------------------------------------------------------------------------


def drawn(name: str, inside: Snapshot, on_host: Snapshot, ports: Sequence[Port]) -> Network:
    """The picture of a network from two snapshots, and the ports that the journal has."""
    apart = inside.namespaces.get("net") != on_host.namespaces.get("net")
    links = [link for link in inside.links if apart]
    cables = [(number, far) for number, link in enumerate(links) if (far := _far_end(link, links, on_host.links))]
    text = on_host.nft_tables.get(f"ip scratchlab-{name}", "")
    return Network(
        name=name,
        apart=apart,
        links=tuple(_end(link, inside.addresses) for link in links),
        cable=cables[0][0] if cables else None,
        gateway=next((route.gateway for route in inside.routes if route.destination == "default"), "") if apart else "",
        ends=tuple(_ends(cables[0][1], on_host)) if cables else (),
        ports=tuple(_port(port, text) for port in ports),
        rules=tuple(_rules(text)),
    )


def _far_end(link: Link, inside: Sequence[Link], on_host: Sequence[Link]) -> Link | None:
    """The host's end of a cable, unless both of its ends are inside."""
    # A link may have its far end's number, and would then pass for its own far end.
    if link.kind != "veth" or any(_are_one_cable(link, other) for other in inside if other is not link):
        return None
    return next((other for other in on_host if _are_one_cable(link, other)), None)


def _are_one_cable(one: Link, other: Link) -> bool:
    # Each namespace numbers its links anew: only if both point at each other they belong together.
    return other.kind == "veth" and (one.peer, other.peer) == (other.index, one.index)


def _ends(far: Link, on_host: Snapshot) -> Iterator[End]:
    yield _end(far, on_host.addresses)
    for link in on_host.links:
        if link.name == far.master:
            yield _end(link, on_host.addresses)


def _end(link: Link, addresses: Sequence[Address]) -> End:
    # Link-local ones come a moment after a link is up, and from its random MAC address.
    own = tuple(each.address for each in addresses if each.link == link.name and not each.address.startswith("fe80:"))
    return End(link.name, link.kind, link.up, own)


def _port(port: Port, rules: str) -> str:
    """A published port in words; where no rule of ours leads in, a process copies."""
    by_rules = f"{port.protocol} dport {port.host} dnat to" in rules
    by = "rules" if by_rules else "a process that copies"
    return f"{port.ip}:{port.host}/{port.protocol} leads to port {port.container} inside, by {by}"


def _rules(text: str) -> Iterator[tuple[str, str]]:
    """The rules of a table as nft prints it, without its hooks and our mark."""
    chain = ""
    for line in (line.strip() for line in text.splitlines()):
        if line.startswith("chain "):
            chain = line.split()[1]
        elif chain and line not in ("}", "") and not line.startswith("type "):
            yield chain, line


def wiring(box: Sandbox) -> Network:
    """How a sandbox is wired: its links, its cable, the bridge, its rules and its published ports.  nft(8), ip-link(8)"""
    inside, here = box.snapshot(), host().snapshot
    facts = next((entries.facts for entries in journal.journals() if entries.name == box.name), {})
    return drawn(box.name, inside, here, [Port(*port) for port in facts.get("ports", [])])
