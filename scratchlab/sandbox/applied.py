"""What applying a step gives back: the changes, inside and on the host, and the ledger. Its repr is the lesson."""

from typing import TYPE_CHECKING, Any, NamedTuple

from scratchlab.linux.ledger import Call
from scratchlab.stages.stage import Step

if TYPE_CHECKING:
    from scratchlab.observe import Change


class Applied(NamedTuple):
    """One step as it was done."""

    step: Step
    value: Any  # what the stage returned, if anything
    changes: "tuple[Change, ...]"
    calls: tuple[Call, ...]  # the ledger
    printed: str  # what a learner's function printed while it ran inside
    seconds: float

    @classmethod
    def of(cls, step: Step, result: dict[str, Any], changes: "tuple[Change, ...]") -> "Applied":
        """Put together what the agent or the keeper answered, and what the snapshots differ in."""
        calls = tuple(Call(**call) for call in result["calls"])
        return cls(step, result["value"], changes, calls, result["printed"], result["seconds"])

    @property
    def inside(self) -> "tuple[Change, ...]":
        """What the sandbox sees differently now."""
        return tuple(change for change in self.changes if change.where == "inside")

    @property
    def outside(self) -> "tuple[Change, ...]":
        """What the host sees differently now."""
        return tuple(change for change in self.changes if change.where == "host")

    def only(self, *what: str) -> "Applied":
        """The same step with these changes alone, `only("mounts")`: others may change the host at the same moment."""
        return self._replace(changes=tuple(change for change in self.changes if change.what in what))

    def __repr__(self) -> str:
        from scratchlab.observe import Changes

        parts = [repr(self.step)]
        parts += [_indented(repr(Changes(self.changes)) if self.changes else "nothing changed that a snapshot shows")]
        count = len(self.calls)
        parts += [f"  {count} system call{'' if count == 1 else 's'}"] + [f"    {call}" for call in self.calls]
        parts += [_indented(self.printed.rstrip("\n"))] if self.printed else []
        return "\n".join(parts)


class Replayed(NamedTuple):
    """The steps that a new sandbox was built from. What ran or was written in between is gone."""

    steps: tuple[Step, ...]

    def __repr__(self) -> str:
        count = len(self.steps)
        head = f"a new sandbox, {count} step{'' if count == 1 else 's'} replayed; what ran or was written in between is gone"
        return "\n".join([head, *(f"  {step}" for step in self.steps)])


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())
