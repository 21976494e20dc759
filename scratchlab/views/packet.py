"""The way of one real packet: each hook of the packet filter that it came through, and each rule that it matched.  nft(8)"""

from collections.abc import Iterator
from dataclasses import dataclass

from scratchlab.observe.packet import Ends, Hop, Journey, Match
from scratchlab.sandbox import Sandbox
from scratchlab.views.picture import WIDEST, Picture
from scratchlab.views.svg import Drawing, columns, shortened, wrapped

_PLACE, _HOOK, _ENDS = 1, 12, 26  # the columns of a hop: whose it is, which hook, the addresses there
_OUTCOME_FILLS = {"answered": "good", "sent": "good"}


@dataclass(frozen=True, repr=False)
class Packet(Picture):
    """One packet's way."""

    name: str
    to: str
    inside: bool  # whether it was sent from inside
    journey: Journey
    exact: bool = False  # whether the sender's port is shown, which is another one each time

    @property
    def title(self) -> str:
        """From where to where, and what came back."""
        return f"a packet from {self._place('inside' if self.inside else 'host')} to {self.to}: {self.journey.outcome}"

    def lines(self) -> list[str]:
        """Three kinds of lines: a hook with the addresses there, a rule that matched, the addresses that it left."""
        return [line for hop in self.journey.hops for line in self._lines(hop)] or [_NOTHING]

    def _lines(self, hop: Hop) -> Iterator[str]:
        place = self._place(hop.where)
        width = max(len(self._place(other.where)) for other in self.journey.hops)
        yield f"{place:{width}}  {hop.hook:11}  {self._ends(hop.before)}{_by(hop)}"
        for match in hop.matches:
            yield f"{'':{width}}  {'':11}    {match.chain}: {match.rule}{_verdict(match.verdict, match.rule)}"
        if hop.after != hop.before:
            yield f"{'':{width}}  {'':11}  {self._ends(hop.after)}"

    def draw(self, drawing: Drawing) -> None:
        """A box for each hook, one below the other, in a frame for each network that the packet was in."""
        row = 2.0
        for number, hop in enumerate(self.journey.hops):
            if number:
                drawing.line([(4, row), (4, row + 0.9)], arrow=True)
                row += 0.9
            row = self._draw_hop(drawing, hop, row)
        fill = _OUTCOME_FILLS.get(self.journey.outcome, "alarm")
        drawing.line([(4, row), (4, row + 0.9)], arrow=True)
        outcome = shortened(self.journey.outcome, WIDEST - 4)
        drawing.box(0, row + 0.9, columns(outcome) + 4, 1.3, fill)
        drawing.text(2, row + 1.0, outcome, bold=True)

    def _draw_hop(self, drawing: Drawing, hop: Hop, top: float) -> float:
        """One hook; gives the row below it."""
        arrival = self._arrival(hop)
        rules = [line for match in hop.matches for line in wrapped(_rule(match), WIDEST - _HOOK - 1)]
        changed = hop.after != hop.before
        below = len(arrival) - 1
        height = 1.3 + 1.1 * (below + len(rules) + changed)
        dropped = any(match.verdict == "drop" for match in hop.matches)
        drawing.box(0, top, WIDEST, height, "alarm" if dropped else "shared" if hop.where == "host" else "own")
        drawing.text(_PLACE, top + 0.1, shortened(self._place(hop.where), _HOOK - 2), "quiet")
        drawing.text(_HOOK, top + 0.1, shortened(hop.hook, _ENDS - _HOOK - 1), bold=True)
        for number, line in enumerate(arrival):
            drawing.text(_ENDS, top + 0.1 + 1.1 * number, shortened(line, WIDEST - _ENDS - 1))
        for number, line in enumerate(rules, below):
            drawing.text(_HOOK, top + 1.2 + 1.1 * number, line, "quiet")
        if changed:
            row = top + 1.2 + 1.1 * (below + len(rules))
            drawing.text(_ENDS, row, shortened(self._ends(hop.after), WIDEST - _ENDS - 1), bold=True)
        return top + height

    def _arrival(self, hop: Hop) -> list[str]:
        """The addresses, and the link beside them; or below them, where both have no room in one row."""
        ends, by = self._ends(hop.before), _by(hop)
        return [ends + by] if columns(ends + by) < WIDEST - _ENDS else [ends, by.strip()]

    def _place(self, where: str) -> str:
        return "host" if where == "host" else self.name

    def _ends(self, ends: Ends) -> str:
        return " → ".join(self._address(end) for end in ends)

    def _address(self, end: str) -> str:
        """An address with its port; the sender's is a star, for it is drawn anew each time."""
        address, _, port = end.rpartition(":")
        ours = self.journey.hops[0].before[0].rpartition(":")[2]
        return f"{address}:*" if port == ours and not self.exact else end


_NOTHING = "no rule saw it: it did not get as far as the packet filter"


def _by(hop: Hop) -> str:
    if not hop.link:
        return ""
    return f"   arrives by {hop.link}" if hop.hook == "prerouting" else f"   leaves by {hop.link}"


def _rule(match: Match) -> str:
    """A rule in the drawing: there, the table's name would only take room."""
    return f"{match.chain.rpartition(' ')[2]}: {match.rule}{_verdict(match.verdict, match.rule)}"


def _verdict(verdict: str, rule: str) -> str:
    # dnat and masquerade say themselves what they do; a rule that ends in its verdict, too.
    return "" if verdict in ("", "accept", "continue") or rule.endswith(verdict) else f" → {verdict}"


def packet(box: Sandbox, to: str, inside: bool = False, exact: bool = False) -> Packet:
    """Send one packet to ADDRESS:PORT, and draw the way that it went; `inside` sends it from the sandbox.  nft(8)"""
    return Packet(box.name, to, inside, box.follow(to, inside), exact)
