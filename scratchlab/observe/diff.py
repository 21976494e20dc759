"""What is different between two snapshots, fact by fact, in an order that is always the same."""

import os
from collections.abc import Iterator, Mapping

from scratchlab.linux.proc import parse_namespace
from scratchlab.observe.change import Change, Changes, namespace_word
from scratchlab.observe.facts import KINDS, Fact, Kind, facts
from scratchlab.observe.snapshot import Snapshot

Names = Mapping[int, str]  # inode of a namespace -> whose it is


def diff(before: Snapshot, after: Snapshot, where: str = "inside", names: Names | None = None) -> Changes:
    """What changed from one snapshot to the next.

    `names` says whose a namespace is, by inode; by default, those of the calling process are "host". Where `where` is "host",
    the process looked at stands for the machine: what belongs to that process alone (its files, its ids) is left out.
    """
    known = names_of("host") if names is None else names
    changes = [] if where == "host" else list(_namespaces(before, after, where, known))
    for kind in KINDS:
        if kind.namespace or where != "host":
            changes += _of_kind(kind, before, after, where)
    return Changes(changes)


def names_of(name: str, *snapshots: Snapshot) -> dict[int, str]:
    """`name` for every namespace of these snapshots, or of the calling process if there are none.  namespaces(7)"""
    if snapshots:
        return {inode: name for snapshot in snapshots for inode in snapshot.namespaces.values()}
    try:
        return {parse_namespace(os.readlink(f"/proc/self/ns/{kind}")): name for kind in os.listdir("/proc/self/ns")}
    except OSError:
        return {}  # after pivot_root there may be no /proc


# -- namespaces -------------------------------------------------------------------------------------------------------


def _namespaces(before: Snapshot, after: Snapshot, where: str, names: Names) -> Iterator[Change]:
    for kind in sorted(before.namespaces.keys() & after.namespaces.keys()):
        old, new = before.namespaces[kind], after.namespaces[kind]
        if old == new or _went_along(kind, after):
            continue
        became = names.get(new, "new") + _first_in_it(kind, new, after)
        yield Change(where, namespace_word(kind), names.get(old, "its own"), became, exact=(str(old), str(new)))
    yield from _readability("namespaces", "namespaces", before, after, where)


def _first_in_it(kind: str, inode: int, after: Snapshot) -> str:
    """What a pid namespace is about: who is pid 1."""
    if kind == "pid" and after.nspid[-1:] == (1,):
        return " (pid 1 in it)"
    return "" if inode else " (its first child will be pid 1)"


def _went_along(kind: str, after: Snapshot) -> bool:
    """Whether this is pid_for_children, of a process that is in that namespace by now itself: then it is not news."""
    itself = kind.removesuffix("_for_children")
    return kind != itself and after.namespaces[kind] == after.namespaces.get(itself)


# -- everything else --------------------------------------------------------------------------------------------------


def _of_kind(kind: Kind, before: Snapshot, after: Snapshot, where: str) -> Iterator[Change]:
    if kind.field in before.missing or kind.field in after.missing:
        yield from _readability(kind.what, kind.field, before, after, where)
        return
    inode = after.namespaces.get(kind.namespace)
    namespace = (kind.namespace, inode) if inode else None
    old, new = facts(kind, before), facts(kind, after)
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            yield _change(kind, old.get(key), new.get(key), where, namespace)


def _change(kind: Kind, old: Fact | None, new: Fact | None, where: str, namespace: tuple[str, int] | None) -> Change:
    exact = old.exact if old else "", new.exact if new else ""
    item = (old or new or Fact("", "")).item
    before, after = _texts(old, new) if old and new else (old.text if old else None, new.text if new else None)
    return Change(where, kind.what, before, after, item, exact, namespace)


def _texts(old: Fact, new: Fact) -> tuple[str, str]:
    """The part of a fact that differs."""
    if old.aside == new.aside:
        # Nothing that can be said is different, and yet it is not the same: a second proc where the first was.
        return old.text, f"{new.text} (another)" if old.text == new.text else new.text
    if old.text == new.text:
        return old.aside, new.aside
    return f"{old.text}, {old.aside}", f"{new.text}, {new.aside}"


def _readability(what: str, field: str, before: Snapshot, after: Snapshot, where: str) -> Iterator[Change]:
    """What could be read in one snapshot and not in the other: not a change of the fact, but of what we know."""
    old, new = (_knowledge(snapshot.missing.get(field)) for snapshot in (before, after))
    if old != new:
        yield Change(where, what, old, new)


def _knowledge(reason: str | None) -> str:
    return "readable" if reason is None else f"not readable: {reason}"
