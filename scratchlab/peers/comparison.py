"""Two processes side by side, as frozen data that reads as a table."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby, zip_longest
from textwrap import wrap
from typing import Any

from scratchlab.peers.orders import LOOSER, OTHER, SAME, TIGHTER, UNKNOWN

WIDTHS = (15, 27, 27, 17, 24)  # what, theirs, ours, stage, difference: with gaps and mark, 120 columns
FOLDED = "resource limits"  # a topic with many rows that are nearly always alike


@dataclass(frozen=True)
class Row:
    """One fact about both. `verdict` is said of theirs: same, tighter, looser, other, unknown."""

    topic: str
    what: str
    theirs: str
    ours: str
    stages: tuple[str, ...]  # the stages that build it, by name
    verdict: str
    means: str  # what the looser of the two can do, in a few words

    @property
    def difference(self) -> str:
        """What the verdict means, in a word or a few."""
        said = {SAME: "", OTHER: "differs", UNKNOWN: "not known"}
        if self.verdict in said:
            return said[self.verdict]
        return f"looser: {self.means}" if self.verdict == LOOSER else f"tighter: ours {self.means}"


@dataclass(frozen=True, repr=False)
class Comparison:
    """A process of any engine, and one of ours."""

    theirs: str  # whose process the first is: "runc (pid 812)"
    ours: str
    rows: tuple[Row, ...]

    @property
    def differing(self) -> tuple[Row, ...]:
        """The rows that are not the same on both sides."""
        return tuple(row for row in self.rows if row.verdict not in (SAME, UNKNOWN))

    def row(self, topic: str, what: str) -> Row:
        """One row by name. Raises KeyError."""
        found = {(row.topic, row.what): row for row in self.rows}
        return found[topic, what]

    def to_data(self) -> dict[str, Any]:
        """All of it for JSON."""
        rows = [{**asdict(row), "difference": row.difference} for row in self.rows]
        return {"theirs": self.theirs, "ours": self.ours, "rows": rows}

    def __repr__(self) -> str:
        lines = [*_cells(" ", "", self.theirs, self.ours, "built by", "theirs is")]
        for topic, group in groupby(self.rows, key=lambda row: row.topic):
            lines += [topic, *_topic(topic, list(group))]
        return "\n".join([*lines, "", _summary(self.rows)])


def _summary(rows: tuple[Row, ...]) -> str:
    count = {verdict: sum(row.verdict == verdict for row in rows) for verdict in (SAME, LOOSER, TIGHTER, OTHER, UNKNOWN)}
    words = [
        f"{count[SAME]} the same", f"theirs looser in {count[LOOSER]}", f"ours looser in {count[TIGHTER]}",
        f"{count[OTHER]} that differ otherwise", *([f"{count[UNKNOWN]} not known"] if count[UNKNOWN] else []),
    ]  # fmt: skip
    return f"{len(rows)} facts: {', '.join(words)}"


def _topic(topic: str, rows: list[Row]) -> Iterator[str]:
    alike = [row for row in rows if topic == FOLDED and row.verdict == SAME]
    above: list[Row] = []
    for row in rows:
        if row not in alike:
            mark = {SAME: " ", UNKNOWN: "?"}.get(row.verdict, "≠")
            cells = (_short(row.theirs, [r.theirs for r in above], above), _short(row.ours, [r.ours for r in above], above))
            yield from _cells(mark, row.what, *cells, ", ".join(row.stages) or "no stage", row.difference)
            above.append(row)
    if alike:
        yield from _cells(" ", f"{len(alike)} others", "", "", ", ".join(alike[0].stages), "")


def _short(text: str, texts: list[str], above: list[Row]) -> str:
    """A long cell that says what one above it has said already: the capability sets are often all the same."""
    if len(text) <= WIDTHS[1] or text not in texts:
        return text
    return f"as {above[texts.index(text)].what}"


def _cells(mark: str, *texts: str) -> Iterator[str]:
    folded = [wrap(text, width, break_on_hyphens=False) or [""] for text, width in zip(texts, WIDTHS, strict=True)]
    for number, words in enumerate(zip_longest(*folded, fillvalue="")):
        cells = "  ".join(word.ljust(width) for word, width in zip(words, WIDTHS, strict=True))
        yield f"{mark if number == 0 else ' '} {cells}".rstrip()
