"""Ablation: leave out one stage after the other, and see which attacks get out. Each cell of the matrix was run."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from scratchlab import display
from scratchlab.attacks import ATTACKS, about
from scratchlab.container import Container
from scratchlab.trials.board import Progress, checked
from scratchlab.trials.hosts import HOST_WALLS, Guest, without
from scratchlab.trials.trial import GOT_OUT, STOPPED, Verdict, attempt

SIGNS = {GOT_OUT: "X", STOPPED: "."}


class Ablation(NamedTuple):
    """Attacks × missing stage, as it was found by running."""

    stages: tuple[str, ...]  # each left out alone, with what cannot be without it
    whole: Mapping[str, Verdict]  # by attack: against the container as it is
    cells: Mapping[tuple[str, str], Verdict]  # by attack and missing stage
    bare: Mapping[str, Verdict]  # by attack: without all stages that the attack names as its walls

    @property
    def got_out(self) -> list[str]:
        """The attacks that get out of the whole container."""
        return [name for name, verdict in self.whole.items() if verdict.outcome == GOT_OUT]

    @property
    def held(self) -> bool:
        """Whether the whole container stopped every attack."""
        return all(verdict.held for verdict in self.whole.values())

    def needed(self, attack: str) -> list[str]:
        """The stages of which each is needed: without it alone, the attack gets out."""
        return [stage for stage in self.stages if self.cells[attack, stage].outcome == GOT_OUT]

    def to_data(self) -> dict[str, Any]:
        """The matrix as JSON can carry it, row by row."""
        return {
            name: {
                "whole": self.whole[name].outcome,
                "without": {stage: self.cells[name, stage].outcome for stage in self.stages},
                "without all of its walls": {"walls": about(ATTACKS[name]).stopped_by, "outcome": self.bare[name].outcome},
            }
            for name in self.whole
        }

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return display.bundle(self)

    def __repr__(self) -> str:
        numbers = [f"{number:2}" for number in range(1, len(self.stages) + 1)]
        width = max(map(len, [*self.whole, "missing stage"]))
        head = " ".join(["missing stage".ljust(width), "none", *numbers, " without all of its walls"])
        legend = [f"{number} {stage}" for number, stage in zip(numbers, self.stages, strict=True)]
        return "\n".join([head, *(self._row(name, width) for name in self.whole), "", *_columns(legend), "", _MEANING])

    def _row(self, name: str, width: int) -> str:
        signs = [f" {_sign(self.cells[name, stage])}" for stage in self.stages]
        walls = ", ".join(about(ATTACKS[name]).stopped_by)
        return " ".join([name.ljust(width), f"   {_sign(self.whole[name])}", *signs, f" {_sign(self.bare[name])} {walls}"])


_MEANING = "X got out   . stopped   - could not be tried"


def _sign(verdict: Verdict) -> str:
    return SIGNS.get(verdict.outcome, "-")


def _columns(words: list[str], count: int = 5) -> list[str]:
    width = max(map(len, words))
    return [
        "  ".join(word.ljust(width) for word in words[start : start + count]).rstrip() for start in range(0, len(words), count)
    ]


def ablate(container: Container, *attacks: str, progress: Progress | None = None, careless: Collection[str] = ()) -> Ablation:
    """Try attacks, by default all, against a container without each of its stages, one by one. Gives the matrix."""
    names = checked(attacks)
    stages = (*dict.fromkeys(item.name for item in Guest(*container).plan()), *HOST_WALLS)
    whole, cells, bare = {}, {}, {}
    for number, name in enumerate(names):
        for done, stage in enumerate(stages):
            if progress:
                progress(f"{name} without {stage}", (number + done / len(stages)) / len(names))
            cells[name, stage] = _without(container, name, careless, stage)
        whole[name] = _without(container, name, careless)
        bare[name] = _without(container, name, careless, *about(ATTACKS[name]).stopped_by)
    if progress:
        progress("", 1)
    return Ablation(stages, whole, cells, bare)


def _without(container: Container, attack: str, careless: Collection[str], *walls: str) -> Verdict:
    return attempt(without(container, *walls), ATTACKS[attack], HOST_WALLS & {*careless, *walls})
