"""Our default container before its judges, as frozen data that reads as a table."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from textwrap import wrap
from typing import Any

from scratchlab.judges.evidence import Evidence, Host
from scratchlab.judges.questions import FEWER, MORE, NONE, QUESTIONS, Question

WIDTHS = (35, 13, 6)  # what, claim, ours; then a column for each peer
PEER = 18


@dataclass(frozen=True)
class Ruling:
    """The answer to one question, about ours and one peer."""

    topic: str
    what: str
    claim: str
    peer: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    against: tuple[str, ...]  # what speaks against the claim: powers that only ours has, walls that only theirs has
    binding: bool  # whether the claim is made against this peer, or only shown

    @property
    def holds(self) -> bool:
        """Whether the claim is true."""
        return not self.against

    @property
    def relation(self) -> str:
        """How ours is to theirs, in a word."""
        if self.against:
            return "weaker" if self.binding else "different"
        if self.claim == NONE or set(self.ours) == set(self.theirs):
            return "none" if self.claim == NONE else "same"
        # Walls of theirs may be there in ours by another one: /sys/fs/cgroup is read-only in a read-only /sys.
        return "fewer" if self.claim == FEWER else "more" if set(self.ours) > set(self.theirs) else "covered"

    @property
    def mark(self) -> str:
        """Whether the claim holds, or, where none is made, whether there is a difference against us."""
        return "✓" if self.holds else "✗" if self.binding else "≠"


@dataclass(frozen=True, repr=False)
class Judgement:
    """All rulings, and what they rest on."""

    rulings: tuple[Ruling, ...]
    evidence: tuple[Evidence, ...]  # ours first
    absent: tuple[str, ...]  # peers that could not be asked, and why

    @property
    def holds(self) -> bool:
        """Whether every claim does."""
        return all(ruling.holds for ruling in self.rulings if ruling.binding)

    def to_data(self) -> dict[str, Any]:
        """All of it for JSON, with each system call's answer in each container."""
        rulings = [{**vars(ruling), "holds": ruling.holds} for ruling in self.rulings]
        calls = {evidence.engine: dict(evidence.calls) for evidence in self.evidence}
        return {"holds": self.holds, "rulings": rulings, "calls": calls, "capsh": self.evidence[0].capsh, "absent": self.absent}

    def __repr__(self) -> str:
        peers = [evidence.engine for evidence in self.evidence[1:]]
        lines = [self.evidence[0].capsh.rstrip(), "", _line("", "claim", "ours", *peers)]
        for topic, group in groupby(self.rulings, key=lambda ruling: ruling.topic):
            lines += [topic, *_rows(list(group))]
        return "\n".join([*lines, "", *self._ending()])

    def _ending(self) -> Iterator[str]:
        binding = [ruling for ruling in self.rulings if ruling.binding]
        failed = sum(not ruling.holds for ruling in binding)
        yield f"{len(binding) - failed} of {len(binding)} claims hold" + ("" if failed else ": every one")
        for why in self.absent:
            yield from wrap(why, 118)


def ruled(ours: Evidence, theirs: Evidence, host: Host, binding: bool) -> tuple[Ruling, ...]:
    """Ours against one peer, question by question."""
    return tuple(_ruling(question, ours, theirs, host, binding) for question in QUESTIONS)


def _ruling(question: Question, ours: Evidence, theirs: Evidence, host: Host, binding: bool) -> Ruling:
    mine, other = question.find(ours, host), question.find(theirs, host)
    if question.claim == FEWER:
        against = mine - other
    elif question.claim == MORE:
        against = frozenset(item for item in other if not question.covers(mine, item, ours))
    else:
        against = mine
    has, others, speaks_against = (tuple(sorted(found)) for found in (mine, other, against))
    return Ruling(question.topic, question.what, question.claim, theirs.engine, has, others, speaks_against, binding)


# -- the table --------------------------------------------------------------------------------------------------------


def _rows(rulings: list[Ruling]) -> Iterator[str]:
    """One line for each question, and below it what speaks against a claim."""
    for what in dict.fromkeys(ruling.what for ruling in rulings):
        row = [ruling for ruling in rulings if ruling.what == what]
        cells = [f"{len(ruling.theirs):<5} {ruling.mark} {ruling.relation}" for ruling in row]
        yield _line(f"  {what}", row[0].claim, str(len(row[0].ours)), *cells)
        for ruling in row:
            if ruling.against:
                whose = f"{ruling.peer}, not ours" if ruling.claim == MORE else f"ours, not {ruling.peer}"
                yield from wrap(f"{whose}: {_some(ruling.against)}", 110, initial_indent="      ", subsequent_indent="      ")


def _some(items: tuple[str, ...], most: int = 12) -> str:
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def _line(*cells: str) -> str:
    widths = (*WIDTHS, *[PEER] * len(cells))
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)).rstrip()
