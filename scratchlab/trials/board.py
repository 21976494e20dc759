"""The scoreboard: every attack, tried, as a table that reads well in a terminal."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from scratchlab.attacks import ATTACKS, about
from scratchlab.container import Container
from scratchlab.errors import InputError
from scratchlab.sandbox import Sandbox
from scratchlab.trials.hosts import HOST_WALLS, without
from scratchlab.trials.trial import GOT_OUT, STOPPED, Verdict, attempt

WIDEST = 100  # characters of evidence in a line

Progress = Callable[[str, float | None], object]


class Scoreboard(NamedTuple):
    """What came of some attacks."""

    verdicts: tuple[Verdict, ...]

    @property
    def got_out(self) -> list[str]:
        """The attacks that got out, by name."""
        return [verdict.attack for verdict in self.verdicts if verdict.outcome == GOT_OUT]

    @property
    def held(self) -> bool:
        """Whether every attack was stopped."""
        return all(verdict.held for verdict in self.verdicts)

    def to_data(self) -> list[dict[str, Any]]:
        """The table as JSON can carry it."""
        return [{**verdict._asdict(), "history": about(ATTACKS[verdict.attack]).history} for verdict in self.verdicts]

    def __getitem__(self, attack: str) -> Verdict:  # type: ignore[override]
        return next(verdict for verdict in self.verdicts if verdict.attack == attack)

    def __repr__(self) -> str:
        rows = [("attack", "outcome", "stopped by", "evidence"), *map(_row, self.verdicts)]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join(
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip() for row in rows
        )


def _row(verdict: Verdict) -> tuple[str, str, str, str]:
    seen = verdict.seen if len(verdict.seen) <= WIDEST else verdict.seen[: WIDEST - 1] + "…"
    by = ", ".join(verdict.walls) if verdict.outcome == STOPPED else ""
    return verdict.attack, verdict.outcome, by, seen


def scoreboard(
    subject: Container | Sandbox, *attacks: str, progress: Progress | None = None, careless: Collection[str] = ()
) -> Scoreboard:
    """Try attacks, by default all, each in a fresh container or in a living sandbox. Gives a table.

    What stopped an attack is found by experiment in more containers; in a sandbox, that is what the attack itself names.
    """
    names = checked(attacks)
    verdicts = []
    for number, name in enumerate(names):
        if progress:
            progress(name, number / len(names))
        verdict = attempt(subject, ATTACKS[name], careless)
        verdicts.append(_by_experiment(subject, verdict, careless) if isinstance(subject, Container) else verdict)
    if progress:
        progress("", 1)
    return Scoreboard(tuple(verdicts))


def _by_experiment(container: Container, verdict: Verdict, careless: Collection[str]) -> Verdict:
    """Say of a stopped attack which walls stopped it: those that do so alone, where without all of them it gets out.

    A stage with other arguments than the usual may be no wall: `capabilities` that keeps all of them.
    """
    walls = verdict.walls if verdict.outcome == STOPPED else ()

    def with_only(*kept: str) -> str:
        missing = [wall for wall in walls if wall not in kept]
        return attempt(without(container, *missing), ATTACKS[verdict.attack], HOST_WALLS & {*careless, *missing}).outcome

    if not walls:
        return verdict
    bare = with_only()
    if bare != GOT_OUT:  # something else stopped it; or it cannot be known, because the rest cannot be built
        return verdict._replace(walls=() if bare == STOPPED else walls)
    return verdict._replace(walls=tuple(wall for wall in walls if len(walls) == 1 or with_only(wall) == STOPPED))


def checked(attacks: tuple[str, ...]) -> tuple[str, ...]:
    """The attacks that are asked for, or all. Raises InputError for one that does not exist."""
    if unknown := set(attacks) - set(ATTACKS):
        raise InputError(f"no such attack: {', '.join(sorted(unknown))}", f"there are {', '.join(ATTACKS)}")
    return attacks or tuple(ATTACKS)
