"""The namespaces of processes beside each other: which they share, and which one has for itself.  namespaces(7)"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from scratchlab.observe.change import namespace_word
from scratchlab.views.picture import Picture, table
from scratchlab.views.subject import Subject, by_name, host, looked_at
from scratchlab.views.svg import Drawing, columns, shortened

_KINDS, _ROOM = 24, 26  # columns for the kinds, and at most for one process


@dataclass(frozen=True, repr=False)
class Namespaces(Picture):
    """For each kind, whose namespace each process is in: it is called after the first one in it."""

    processes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def title(self) -> str:
        """Who is compared."""
        return f"namespaces of {', '.join(self.processes)}"

    def lines(self) -> list[str]:
        """A row for each kind, a column for each process."""
        return table([["", *self.processes], *([namespace_word(kind), *owners] for kind, owners in self.rows)])

    def draw(self, drawing: Drawing) -> None:
        """A box for each namespace; one that several processes share reaches across all of them."""
        room = min(max(*(columns(name) for name in self.processes), 12) + 4, _ROOM)
        for number, name in enumerate(self.processes):
            drawing.text(_KINDS + number * room + 1, 1.5, shortened(name, room - 2), bold=True)
        for row, (kind, owners) in enumerate(self.rows):
            top = 2.7 + row * 1.4
            drawing.text(0, top + 0.1, namespace_word(kind), "quiet")
            for first, count, owner in _spans(owners):
                fill = "shared" if owner == self.processes[0] else "own"
                drawing.box(_KINDS + first * room, top, count * room - 1, 1.2, fill)
                drawing.text(_KINDS + first * room + 1, top + 0.1, shortened(owner, count * room - 3))


def _spans(owners: tuple[str, ...]) -> Iterator[tuple[int, int, str]]:
    """Neighbours in one namespace: the first one's number, how many, and whose it is."""
    for owner, group in groupby(enumerate(owners), key=lambda item: item[1]):
        members = list(group)
        yield members[0][0], len(members), owner


def compared(processes: Mapping[str, Mapping[str, int]]) -> Namespaces:
    """The picture of processes by name, each with its namespaces' inodes by kind."""
    kinds = sorted({kind for namespaces in processes.values() for kind in namespaces if not kind.endswith("_for_children")})
    rows = [(kind, _owners(kind, processes)) for kind in kinds]
    if any(seen.get("pid_for_children") not in (None, seen.get("pid")) for seen in processes.values()):
        # Between unshare(CLONE_NEWPID) and the first fork: the process stays, its children will not.
        at = kinds.index("pid") + 1
        rows.insert(at, ("pid_for_children", _owners("pid_for_children", processes)))
    return Namespaces(tuple(processes), tuple(rows))


def _owners(kind: str, processes: Mapping[str, Mapping[str, int]]) -> tuple[str, ...]:
    # pid_for_children beside pid: a child that is born where its parent is, is in the same one.
    first: dict[int | None, str] = {}
    for name, namespaces in processes.items():
        for each in (kind.removesuffix("_for_children"), kind):
            first.setdefault(namespaces.get(each), name)
    return tuple(first[namespaces.get(kind)] for namespaces in processes.values())


def namespaces(*subjects: Subject) -> Namespaces:
    """The namespaces of this program's host and of sandboxes or processes (by pid), beside each other.  namespaces(7)"""
    seen = by_name([host(), *(looked_at(subject) for subject in subjects)])
    return compared({name: snapshot.namespaces for name, snapshot in seen.items()})
