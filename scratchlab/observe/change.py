"""One difference between two snapshots, and how several of them read in a plain terminal."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from textwrap import wrap

LONG = 12  # more lines of one sort than this are cut short
WIDE = 90  # a longer text goes on in the next line
ALIKE = 3  # from so many items on that change in the same way, one line says so


@dataclass(frozen=True, repr=False)
class Change:
    """One changed fact. `before` is None for what was added, `after` for what was removed.

    Its text holds no numbers that differ from run to run; `exact` and `detail()` do.
    """

    where: str  # "inside" or "host"
    what: str  # "uts namespace", "hostname", "mounts" …
    before: str | None
    after: str | None
    item: str = ""  # which one, where there are several: "/proc", "eth0"
    exact: tuple[str, str] = ("", "")  # before and after, with inodes and all
    namespace: tuple[str, int] | None = None  # what this is a property of, if not of the process alone: ("mnt", 4026531832)

    @property
    def sign(self) -> str:
        """`+` added, `-` removed, `~` altered; nothing for what there is only one of."""
        if not self.item:
            return ""
        return "+" if self.before is None else "-" if self.after is None else "~"

    def detail(self) -> str:
        """The change with the kernel's exact numbers."""
        numbers = " → ".join(number or "none" for number in self.exact)
        return f"{self!r}   ({numbers})" if any(self.exact) else repr(self)

    def __repr__(self) -> str:
        return "   ".join(word for word in (self.what, _body(self, self.item), _place(self)) if word)


class Changes(tuple[Change, ...]):
    """Changes, inside and on the host, that read as one block of text."""

    def __repr__(self) -> str:
        return "\n".join(_aligned(list(_lines(self)))) or "nothing changed that a snapshot shows"


def namespace_word(kind: str) -> str:
    """`mnt` as "mount namespace", `pid_for_children` as "pid namespace of children"."""
    itself = kind.removesuffix("_for_children")
    return ("mount" if itself == "mnt" else itself) + " namespace" + (" of children" if kind != itself else "")


# -- one line ---------------------------------------------------------------------------------------------------------


def _body(change: Change, item: str) -> str:
    before, after = change.before or "none", change.after or "none"
    match change.sign:
        case "+":
            return f"+ {item}  {change.after}".rstrip()
        case "-":
            return f"- {item}  {change.before}".rstrip()
        case "~":
            return f"~ {item}  {before} → {after}"
        case _:
            return f"{before} → {after}"


def _place(change: Change, twin: Change | None = None) -> str:
    """Where it was seen; of what happened on both sides, also why, as far as the snapshots tell."""
    if change.where == "inside":
        # What there is only one of belongs to the process, unless the host has just shown the same.
        return "inside" if change.item or twin else ""
    if change.where != "host":
        return change.where
    if twin is None:
        return "on the host"
    if change.namespace and change.namespace == twin.namespace:
        return f"on the host too  ← the same {namespace_word(change.namespace[0])}"
    return "on the host too" + ("  ← propagated" if change.what == "mounts" else "")


# -- many lines -------------------------------------------------------------------------------------------------------


def _lines(changes: Iterable[Change]) -> Iterator[tuple[str, str, str]]:
    """What, body and place of each line."""
    changes = list(changes)
    seen = {(_fact(change), change.where): change for change in changes}
    other = {"inside": "host", "host": "inside"}

    def column(change: Change) -> tuple[str, str]:
        return change.what, _place(change, seen.get((_fact(change), other.get(change.where, ""))))

    # Stable: all that one place shows of a thing stays together, in the order given.
    order = {what: number for number, what in enumerate(dict.fromkeys(change.what for change in changes))}
    for (what, place), group in groupby(sorted(changes, key=lambda change: order[change.what]), key=column):
        yield from ((what, body, place) for body in _bodies(list(group)))


def _fact(change: Change) -> tuple[str | None, ...]:
    return change.what, change.item, change.before, change.after


def _bodies(group: list[Change]) -> Iterator[str]:
    """One line for each change, but one for many that are alike, and an end to long lists."""
    for sign in dict.fromkeys(change.sign for change in group):
        alike: dict[tuple[str | None, ...], list[Change]] = {}
        for change in (change for change in group if change.sign == sign):
            # Things come and go one by one; what is altered is often altered together.
            key = (change.before, change.after) if sign == "~" else _fact(change)
            alike.setdefault(key, []).append(change)
        yield from _cut([line for changes in alike.values() for line in _merged(changes)], sign)


def _merged(changes: list[Change]) -> list[str]:
    if len(changes) < ALIKE:
        return [_body(change, change.item) for change in changes]
    items = ", ".join(change.item for change in changes)
    return [_body(changes[0], items if len(items) <= 60 else f"{len(changes)} of them")]


def _cut(lines: list[str], sign: str) -> list[str]:
    if len(lines) <= LONG:
        return lines
    return [*lines[: LONG - 2], f"{sign} and {len(lines) - LONG + 2} more"]


def _aligned(lines: list[tuple[str, str, str]]) -> Iterator[str]:
    left = max((len(what) for what, _, _ in lines), default=0)
    folded = [(what, fold(body), place) for what, body, place in lines]
    middle = max((len(first) for _, (first, *_), place in folded if place), default=0)
    above = ""
    for what, (first, *rest), place in folded:
        yield f"{'' if what == above else what:{left}}   {first:{middle if place else 0}}   {place}".rstrip()
        yield from (f"{'':{left}}   {line}" for line in rest)
        above = what


def fold(text: str) -> list[str]:
    """A long text in several lines, broken between words."""
    return wrap(text, WIDE, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False) or [""]
