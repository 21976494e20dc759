"""What is so on one kind of machine and not on another: both are shown, and a mark says which of them this machine is.

So one stored notebook is true everywhere. The row with the mark is what the kernel said here. The other row is what it says
there, and the tests run the lessons on both kinds. The mark is the only difference; notebooks/sanitize.cfg takes it out.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from scratchlab.linux import cgroupfs
from scratchlab.views.limits import HERE
from scratchlab.views.picture import table

_THROWN_AWAY, _KEPT = "a machine to throw away", "any other machine"


class Cases(NamedTuple):
    """Kinds of machines, with what is so on each."""

    rows: Mapping[str, Any]
    here: str  # the kind that this machine is

    @property
    def found(self) -> Any:
        """What is so on this machine."""
        return self.rows[self.here]

    def __repr__(self) -> str:
        return "\n".join(table([(kind, str(said), HERE if kind == self.here else "") for kind, said in self.rows.items()]))


def by_version(controller: str, found: Any, known: Mapping[int, Any]) -> Cases:
    """What was found here, beside what is known of the other version of a controller's control groups.  cgroups(7)"""
    here = cgroupfs.layout().of(controller).version
    return Cases({f"version {number}": found if number == here else said for number, said in known.items()}, f"version {here}")


def by_disposal(act: Callable[[], Any], known: Any, disposable: bool) -> Cases:
    """Do what would harm a machine, if nobody needs this one; else say what is known to come of it."""
    rows = {_THROWN_AWAY: act() if disposable else known, _KEPT: "not run: it would act on the whole machine"}
    return Cases(rows, _THROWN_AWAY if disposable else _KEPT)
