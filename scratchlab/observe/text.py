"""How a snapshot reads in a plain terminal: a few lines of each kind, the same in every run."""

from collections.abc import Iterator

from scratchlab.observe.change import fold
from scratchlab.observe.diff import names_of
from scratchlab.observe.facts import KINDS, Kind, facts
from scratchlab.observe.snapshot import Snapshot

SHOWN = 4  # lines of one kind; the fields of the snapshot have them all


def snapshot_text(snapshot: Snapshot) -> str:
    """A snapshot as a table of two columns."""
    rows = [("process", snapshot.command), *_namespaces(snapshot)]
    for kind in KINDS:
        rows += _rows(kind, snapshot)
    rows += _missing(snapshot)
    width = max(len(what) for what, _ in rows)
    # Only the first line of a folded text says what it is about.
    lines = [(what if first else "", line) for what, text in rows for first, line in _numbered(text)]
    return "\n".join(f"{what:{width}}   {line}".rstrip() for what, line in lines)


def _numbered(text: str) -> Iterator[tuple[bool, str]]:
    return ((number == 0, line) for number, line in enumerate(fold(text)))


def _namespaces(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """One line for those that are the host's, and one for the others."""
    host = names_of("host")
    kinds: dict[str, list[str]] = {"host": [], "its own": []}
    for kind, inode in snapshot.namespaces.items():
        if not kind.endswith("_for_children"):
            kinds[host.get(inode, "its own")].append(kind)
    what = "namespaces"
    for owner, listed in kinds.items():
        if listed:
            yield what, f"{owner}: {', '.join(listed)}"
            what = ""


def _rows(kind: Kind, snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    if kind.field in snapshot.missing:
        return  # an empty row would say that there are none
    lines = [f"{fact.item}  {fact.text}".strip() for fact in facts(kind, snapshot).values()]
    if len(lines) > SHOWN + 1:
        lines[SHOWN:] = [f"and {len(lines) - SHOWN} more in .{kind.field}"]
    for number, line in enumerate(lines):
        yield "" if number else kind.what, line


def _missing(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    for reason in dict.fromkeys(snapshot.missing.values()):
        yield "not known", f"{', '.join(field for field, why in snapshot.missing.items() if why == reason)}: {reason}"
