"""Attacks against a container without one stage at a time: which wall is for which attack."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from scratchlab import display
from scratchlab.attacks import ATTACKS, about
from scratchlab.trials.ablation import Ablation
from scratchlab.trials.trial import GOT_OUT, NOT_TRIED, STOPPED
from scratchlab.views.picture import WIDEST, Picture, image, table
from scratchlab.views.svg import Drawing, columns, shortened, wrapped

_CELLS = {GOT_OUT: ("X", "alarm"), STOPPED: ("·", "good"), NOT_TRIED: ("?", "shared")}
_NAME, _CELL = 20, 3  # columns for an attack, and for a cell
_LEGEND = "X got out   · stopped   ? not tried"


class Row(NamedTuple):
    """The outcomes of one attack."""

    attack: str
    whole: str  # against the container as it is
    without: tuple[str, ...]  # without each of the matrix's stages
    bare: str  # without all of its walls
    walls: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Matrix(Picture):
    """For each attack, its outcome against the whole container, and without each stage that matters."""

    stages: tuple[str, ...]  # those without which something gets out
    idle: tuple[str, ...]  # those that can be missing, one at a time
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """What was tried."""
        return "attacks against a container without one stage"

    def lines(self) -> list[str]:
        """A row for each attack."""
        cells = [("attack", "whole container", "gets out without")]
        cells += [(row.attack, row.whole, self._needed(row)) for row in self.rows]
        return [*table(cells), *self._idle()]

    def _needed(self, row: Row) -> str:
        alone = [stage for stage, outcome in zip(self.stages, row.without, strict=True) if outcome == GOT_OUT]
        if alone:
            return " or ".join(alone)
        return f"all of {', '.join(row.walls)}" if row.bare == GOT_OUT else "nothing that was tried"

    def _idle(self) -> Iterator[str]:
        if self.idle:
            yield f"nothing gets out without one of these alone: {', '.join(self.idle)}"

    def draw(self, drawing: Drawing) -> None:
        """A grid: attacks down, missing stages across."""
        headings = ["nothing missing", *self.stages, "all its walls"]
        top = 1.6 + max(columns(heading) for heading in headings) * 0.4
        for number, heading in enumerate(headings):
            edge = number in (0, len(headings) - 1)
            drawing.upright(_NAME + number * _CELL + 1, top - 0.2, heading, "ink" if edge else "quiet")
        for number, row in enumerate(self.rows):
            drawing.text(0, top + number * 1.3, shortened(row.attack, _NAME - 1))
            for place, outcome in enumerate((row.whole, *row.without, row.bare)):
                words, fill = _CELLS[outcome]
                drawing.box(_NAME + place * _CELL, top + number * 1.3, _CELL - 0.4, 1.1, fill)
                drawing.text(_NAME + place * _CELL + 0.8, top + number * 1.3, words)
        below = top + len(self.rows) * 1.3 + 0.3
        for number, line in enumerate([_LEGEND, *(part for words in self._idle() for part in wrapped(words, WIDEST))]):
            drawing.text(0, below + number * 1.1, line, "quiet")


def matrix(ablation: Ablation) -> Matrix:
    """The outcomes of an ablation as a grid; stages without which nothing gets out are only named."""
    cells, attacks = ablation.cells, tuple(ablation.whole)
    matters = [stage for stage in ablation.stages if any(cells[name, stage].outcome == GOT_OUT for name in attacks)]
    rows = [
        Row(
            name,
            ablation.whole[name].outcome,
            tuple(cells[name, stage].outcome for stage in matters),
            ablation.bare[name].outcome,
            about(ATTACKS[name]).stopped_by,
        )
        for name in attacks
    ]
    return Matrix(tuple(matters), tuple(stage for stage in ablation.stages if stage not in matters), tuple(rows))


@display.html.register
def _(ablation: Ablation) -> str:
    return image(matrix(ablation))
