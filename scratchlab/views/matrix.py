"""Attacks against a container without one stage at a time: which wall is for which attack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from scratchlab.trials.trial import GOT_OUT, NOT_TRIED, STOPPED, Verdict
from scratchlab.views.picture import Picture, table
from scratchlab.views.svg import Drawing, columns, shortened

_CELLS = {GOT_OUT: ("out", "alarm"), STOPPED: ("–", "good"), NOT_TRIED: ("?", "shared")}
_NAME, _CELL = 28, 5  # columns for an attack, and for a cell


class Ablated(Protocol):
    """What the matrix is drawn from: verdicts of attacks, against the whole container and without one stage."""

    @property
    def stages(self) -> tuple[str, ...]:
        """What was left out, one at a time."""

    @property
    def whole(self) -> Mapping[str, Verdict]:
        """By attack: against the container as it is."""

    @property
    def cells(self) -> Mapping[tuple[str, str], Verdict]:
        """By attack and stage."""


@dataclass(frozen=True, repr=False)
class Matrix(Picture):
    """For each attack, its outcome against the whole container, and without each stage that matters."""

    stages: tuple[str, ...]  # those without which something gets out
    idle: tuple[str, ...]  # those that can be missing, one at a time
    outcomes: tuple[tuple[str, str, tuple[str, ...]], ...]  # attack, whole, and without each of `stages`

    @property
    def title(self) -> str:
        """What was tried."""
        return "attacks against a container without one stage"

    def lines(self) -> list[str]:
        """A row for each attack."""
        rows = [("attack", "whole container", "gets out without")]
        rows += [
            (attack, whole, ", ".join(self._needed(outcomes)) or "no single one") for attack, whole, outcomes in self.outcomes
        ]
        return [*table(rows), *([f"nothing gets out without any one of: {', '.join(self.idle)}"] if self.idle else [])]

    def _needed(self, outcomes: Sequence[str]) -> list[str]:
        return [stage for stage, outcome in zip(self.stages, outcomes, strict=True) if outcome == GOT_OUT]

    def draw(self, drawing: Drawing) -> None:
        """A grid: attacks down, missing stages across."""
        headings = ["whole", *(f"−{stage}" for stage in self.stages)]
        top = 1.5 + max(columns(heading) for heading in headings) * 0.4
        for number, heading in enumerate(headings):
            drawing.upright(_NAME + number * _CELL + 1.5, top - 0.2, heading, "quiet" if number else "ink")
        for number, (attack, whole, outcomes) in enumerate(self.outcomes):
            row = top + number * 1.3
            drawing.text(0, row + 0.05, shortened(attack, _NAME - 1))
            for place, outcome in enumerate((whole, *outcomes)):
                words, fill = _CELLS[outcome]
                drawing.box(_NAME + place * _CELL, row, _CELL - 0.5, 1.1, fill)
                drawing.text(_NAME + place * _CELL + 0.7 + (3 - len(words)) / 2, row + 0.02, words)
        drawing.text(0, top + len(self.outcomes) * 1.3 + 0.3, "out: it got out    –: it was stopped    ?: not tried", "quiet")


def matrix(ablation: Ablated) -> Matrix:
    """The outcomes of an ablation as a grid; stages without which nothing gets out are only named."""
    attacks = tuple(ablation.whole)
    matters = [stage for stage in ablation.stages if any(ablation.cells[name, stage].outcome == GOT_OUT for name in attacks)]
    rows = [
        (name, ablation.whole[name].outcome, tuple(ablation.cells[name, stage].outcome for stage in matters)) for name in attacks
    ]
    return Matrix(tuple(matters), tuple(stage for stage in ablation.stages if stage not in matters), tuple(rows))
