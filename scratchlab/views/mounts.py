"""The mount tree of a process, and how each mount hangs together with the host's.  mount_namespaces(7)"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scratchlab.linux.proc import MountPoint
from scratchlab.observe.facts import attached, unusual_options
from scratchlab.views.picture import Picture, table
from scratchlab.views.subject import Subject, host, looked_at
from scratchlab.views.svg import Drawing, columns, shortened

_ROOM = {"target": 32, "fstype": 12, "options": 22}  # columns at most in the drawing


class Row(NamedTuple):
    """One mount in the tree, or all those beside each other that are just as on the host."""

    branch: str  # the lines of the tree that lead to it
    target: str
    fstype: str
    options: str
    propagation: str  # "private", "shared with the host" …
    as_on_host: bool


@dataclass(frozen=True, repr=False)
class Mounts(Picture):
    """A mount tree, from the root down."""

    name: str
    is_hosts: bool  # whether the process is in the host's own mount namespace
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """Whose mounts, and in which namespace."""
        return f"mounts of {self.name}" + (", in the host's own mount namespace" if self.is_hosts else "")

    def lines(self) -> list[str]:
        """One line for each mount."""
        return table([[row.branch + row.target, row.fstype, row.options, row.propagation] for row in self.rows])

    def draw(self, drawing: Drawing) -> None:
        """The tree, with a stroke on the right for what travels between it and the host."""
        shown = [_shown(row) for row in self.rows]
        widths = [max((columns(cells[number]) for cells in shown), default=0) for number in range(3)]
        starts = [1, widths[0] + 3, widths[0] + widths[1] + 5, sum(widths) + 7]
        right = starts[3] + max((columns(row.propagation) for row in self.rows), default=0) + 1
        for number, (row, cells) in enumerate(zip(self.rows, shown, strict=True)):
            top, indent = 1.6 + number * 1.3, len(row.branch)
            drawing.text(0, top, row.branch, "quiet")
            drawing.box(indent, top, right - indent, 1.1, _fill(row))
            drawing.text(indent + 1, top, cells[0].removeprefix(row.branch))
            for start, words in zip(starts[1:], (*cells[1:], row.propagation), strict=True):
                drawing.text(start, top, words, "quiet" if start == starts[2] else "ink")


def _fill(row: Row) -> str:
    if "host" in row.propagation:
        return "alarm"  # what is done here may arrive there
    return "shared" if row.as_on_host else "own"


def _shown(row: Row) -> tuple[str, str, str]:
    target = row.branch + shortened(row.target, _ROOM["target"] - len(row.branch))
    return target, shortened(row.fstype, _ROOM["fstype"]), shortened(row.options, _ROOM["options"])


# -- from mountinfo to rows -------------------------------------------------------------------------------------------


class _Node(NamedTuple):
    mount: MountPoint
    propagation: str
    as_on_host: bool
    below: tuple["_Node", ...]

    @property
    def is_news(self) -> bool:
        """Whether something in it is not as on the host."""
        return not self.as_on_host or any(node.is_news for node in self.below)


def tree(inside: Sequence[MountPoint], on_host: Sequence[MountPoint], every: bool = False) -> tuple[Row, ...]:
    """The rows of a mount table; what is as on the host is summed up, unless `every` mount is wanted."""
    known = {mount.mount_id for mount in inside}
    roots = [mount for mount in inside if mount.parent_id not in known or mount.parent_id == mount.mount_id]
    alike = {_likeness(mount) for mount in on_host}
    groups = {word for mount in on_host for word in mount.propagation.split() if word.startswith("shared:")}
    rows: list[Row] = []
    for root in roots:
        rows += _rows(_node(root, inside, alike, groups), "", "", every)
    return tuple(rows)


def _node(mount: MountPoint, mounts: Sequence[MountPoint], alike: set[tuple[str, ...]], groups: set[str]) -> _Node:
    below = [each for each in mounts if each.parent_id == mount.mount_id and each is not mount]
    nodes = tuple(_node(each, mounts, alike, groups) for each in below)
    return _Node(mount, propagation_word(mount.propagation, groups), _likeness(mount) in alike, nodes)


def _likeness(mount: MountPoint) -> tuple[str, ...]:
    """What is equal in a copy of a mount, as unshare(CLONE_NEWNS) makes it."""
    return mount.target, mount.device, mount.root, mount.fstype, mount.options


def propagation_word(text: str, hosts_groups: set[str]) -> str:
    """`shared:1 master:2` in words; a peer group means little by its number, but much if the host is in it."""
    words = text.split()
    said = []
    for word in words:
        kind, _, number = word.partition(":")
        with_host = f"shared:{number}" in hosts_groups
        if kind == "shared":
            said.append("shared with the host" if with_host else "shared")
        elif kind == "master":
            said.append("receives from the host" if with_host else "receives")
        elif kind != "propagate_from":
            said.append(kind)
    return ", ".join(said)


def _rows(node: _Node, branch: str, below: str, every: bool) -> Iterator[Row]:
    mount = node.mount
    # What the host has here is another filesystem on each machine, and not what changed.
    what = ("the host's", "") if node.as_on_host and not every else (attached(mount), unusual_options(mount))
    yield Row(branch, mount.target, *what, node.propagation, node.as_on_host)
    shown = [each for each in node.below if every or each.is_news]
    rest = [] if every else [each for each in node.below if not each.is_news]
    last = len(shown) + bool(rest) - 1
    for number, each in enumerate(shown):
        corner, line = ("└─ ", "   ") if number == last else ("├─ ", "│  ")
        yield from _rows(each, below + corner, below + line, every)
    if rest:
        # Without their number: each machine has other ones, and a lesson's output must not.
        yield Row(f"{below}└─ ", "… the others, as on the host", "", "", _propagations(rest), True)


def _propagations(nodes: Sequence[_Node]) -> str:
    found = {word for node in nodes for word in _all_propagations(node)}
    return found.pop() if len(found) == 1 else "some shared with the host" if "shared with the host" in found else "mixed"


def _all_propagations(node: _Node) -> Iterator[str]:
    yield node.propagation
    for each in node.below:
        yield from _all_propagations(each)


def mounts(subject: Subject, every: bool = False) -> Mounts:
    """The mount tree of a sandbox or process, and what travels between it and the host's.  mount_namespaces(7)"""
    seen, here = looked_at(subject), host().snapshot
    is_hosts = seen.snapshot.namespaces.get("mnt") == here.namespaces.get("mnt")
    return Mounts(seen.name, is_hosts, tree(seen.snapshot.mounts, here.mounts, every))
