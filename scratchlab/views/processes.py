"""The processes of a sandbox as one tree, each with the number that it has inside.  pid_namespaces(7)

The host sees all of them, below the program that you are typing in. Inside, what is above is not there.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scratchlab.linux.proc import parse_namespace
from scratchlab.observe.processes import Listed, listed
from scratchlab.sandbox import Sandbox
from scratchlab.views.picture import Picture, table
from scratchlab.views.subject import gone, living
from scratchlab.views.svg import Drawing, columns, shortened

_ROOM = 40

# Who is above a sandbox: programs with names that differ from machine to machine.
_ROLES = ("this program", "its keeper")


class Row(NamedTuple):
    """One process in the tree."""

    branch: str
    command: str
    inside: str  # its number inside, or "" where it cannot be seen from there
    on_host: str  # its number on the host, if it was asked for


@dataclass(frozen=True, repr=False)
class Processes(Picture):
    """A process tree, from this program down to what runs in a sandbox."""

    name: str
    has_namespace: bool  # whether the sandbox numbers its processes itself
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """Whose processes, and who numbers them."""
        whose = "" if self.has_namespace else ", in the host's own pid namespace"
        return f"processes of {self.name}{whose}"

    def _heading(self) -> tuple[str, ...]:
        numbers = ("pid on the host",) if any(row.on_host for row in self.rows) else ()
        return ("seen from the host", *numbers, f"pid inside {self.name}")

    def _cells(self, row: Row) -> tuple[str, ...]:
        numbers = (row.on_host,) if len(self._heading()) == 3 else ()
        return (row.branch + row.command, *numbers, row.inside or "not visible")

    def lines(self) -> list[str]:
        """One line for each process."""
        return table([self._heading(), *(self._cells(row) for row in self.rows)])

    def draw(self, drawing: Drawing) -> None:
        """The tree; what is visible inside stands out."""
        rows = [row._replace(command=shortened(row.command, _ROOM)) for row in self.rows]
        cells = [self._heading(), *(self._cells(row) for row in rows)]
        starts = [1]
        for column in list(zip(*cells, strict=True))[:-1]:
            starts.append(starts[-1] + max(columns(word) for word in column) + 3)
        right = starts[-1] + max(columns(shortened(line[-1], _ROOM)) for line in cells) + 1
        for start, words in zip(starts, cells[0], strict=True):
            drawing.text(start, 1.5, shortened(words, _ROOM), "quiet")
        for number, row in enumerate(rows):
            top, indent = 2.8 + number * 1.3, len(row.branch)
            drawing.text(0, top, row.branch, "quiet")
            drawing.box(indent, top, right - indent, 1.1, "own" if row.inside else "shared")
            drawing.text(indent + 1, top, row.command)
            for start, words in zip(starts[1:], self._cells(row)[1:], strict=True):
                drawing.text(start, top, words, "ink" if row.inside else "quiet")


# -- from the table to the tree ---------------------------------------------------------------------------------------


class _Scope(NamedTuple):
    """What is drawn: the processes by parent, and which of them the sandbox's pid namespace holds."""

    children: Mapping[int, Sequence[Listed]]
    namespace: int  # of the sandbox, or 0 if it has none of its own
    level: int  # of that namespace: the how-manieth number of a process is the one inside
    roles: Mapping[int, str]
    exact: bool


def tree(processes: Sequence[Listed], first: int, top: int, host: int, exact: bool = False) -> tuple[Row, ...]:
    """The rows from process `top` down to `first`, the sandbox's, and all below that. `host` is the host's pid namespace."""
    by_pid = {process.pid: process for process in processes}
    box = by_pid[first]
    apart = box.pid_namespace not in (0, host)
    chain = _chain(by_pid, first, top)
    children = _children(processes, chain)
    roles = dict(zip(chain[:-1], _ROLES, strict=False))
    scope = _Scope(children, box.pid_namespace if apart else 0, len(box.nspid) - 1, roles, exact)
    rows = list(_rows(scope, by_pid[chain[0]], "", ""))
    # What has joined the namespace from elsewhere: its parent is not in this tree.
    drawn = {process.pid for below in children.values() for process in below} | {chain[0]}
    joined = [each for each in processes if apart and each.pid_namespace == box.pid_namespace and each.pid not in drawn]
    return tuple(rows + [row for each in joined for row in _rows(scope, each, "", "")])


def _chain(by_pid: Mapping[int, Listed], first: int, top: int) -> list[int]:
    """The pids from `top` down to `first`; only `first` if it is not below `top`."""
    chain = [first]
    while chain[0] != top:
        above = by_pid[chain[0]].ppid
        if above not in by_pid or above in chain:
            return [first]  # read one by one: a number may have come to mean another process meanwhile
        chain.insert(0, above)
    return chain


def _children(processes: Sequence[Listed], chain: Sequence[int]) -> dict[int, list[Listed]]:
    """Who is below whom: above the sandbox's first process only the way to it, below it everything."""
    children: dict[int, list[Listed]] = {}
    for process in processes:
        if process.pid != chain[0] and (process.ppid not in chain[:-1] or process.pid in chain):
            children.setdefault(process.ppid, []).append(process)
    wanted = [*chain]
    for pid in wanted:  # it grows as we go
        wanted += [child.pid for child in children.get(pid, []) if child.pid not in chain]
    return {pid: children.get(pid, []) for pid in wanted}


def _rows(scope: _Scope, process: Listed, branch: str, below: str) -> Iterator[Row]:
    zombie = " (zombie)" if process.state == "Z" else ""
    command = scope.roles.get(process.pid, process.command)
    yield Row(branch, command + zombie, _inside(scope, process), str(process.pid) if scope.exact else "")
    children = scope.children.get(process.pid, [])
    for number, each in enumerate(children, 1):
        corner, line = ("└─ ", "   ") if number == len(children) else ("├─ ", "│  ")
        yield from _rows(scope, each, below + corner, below + line)


def _inside(scope: _Scope, process: Listed) -> str:
    """The number inside: of a process in the namespace, or in one below it."""
    if not scope.namespace:
        return "the host's"
    if len(process.nspid) > scope.level:
        return str(process.nspid[scope.level])
    return ""


def processes(box: Sandbox, exact: bool = False) -> Processes:
    """The process tree of a sandbox from outside, with the numbers from inside; `exact` adds the host's.  pid_namespaces(7)"""
    host = parse_namespace(os.readlink("/proc/self/ns/pid"))
    first, found = living(box), listed()
    namespaces = {process.pid: process.pid_namespace for process in found}
    if first not in namespaces:
        raise gone(box)
    rows = tree(found, first, os.getpid(), host, exact)
    apart = namespaces[first] not in (0, host)
    return Processes(box.name, apart, rows)
