"""The control groups of a sandbox: where they are in their trees, the limit, the use, and how often the kernel stepped in.

A picture says what is so on either version; which files are behind it, and of which version, `limits` says (limits.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from scratchlab.observe.usage import Usage, usage_of
from scratchlab.sandbox import Sandbox
from scratchlab.stages.sizes import readable
from scratchlab.views.picture import WIDEST, Picture, table
from scratchlab.views.subject import living
from scratchlab.views.svg import Drawing, shortened

_EVENTS = {  # what to say of an event that has happened, and of one that has not
    "throttled": ("throttled: had to wait for the next period", "hardly throttled"),
    "killed": ("processes killed for want of memory: {}", "no process killed"),
    "refused": ("forks refused", "no fork refused"),
}
# One that happens so often by chance, while a sandbox is built, is no news.
_CHANCE = {"throttled": 2}
# Use moves by itself, so a picture says it in words that stay the same from run to run.
_SHARES = ((0.25, "under a quarter"), (0.5, "under half"), (0.9, "over half"))


@dataclass(frozen=True, repr=False)
class Groups(Picture):
    """The control groups of a process, by controller."""

    name: str
    usages: tuple[Usage, ...]
    exact: bool = False

    @property
    def title(self) -> str:
        """Whose groups."""
        return f"control groups of {self.name}"

    def lines(self) -> list[str]:
        """A line for each controller."""
        return table([self._cells(usage) for usage in self.usages])

    def _cells(self, usage: Usage) -> tuple[str, ...]:
        if not is_limited(usage):
            return (usage.controller, "", "no limit of its own", "", "")
        return (usage.controller, _way(usage), limit_word(usage), self._use(usage), ", ".join(self._events(usage)))

    def _use(self, usage: Usage) -> str:
        if usage.used is None:
            return ""
        if self.exact:
            return f"uses {readable(usage.used) if usage.controller == 'memory' else usage.used}"
        share = usage.share
        return "" if share is None else f"uses {share_word(share)}"

    def _events(self, usage: Usage) -> Iterator[str]:
        for name, count in usage.events.items():
            happened, never = _EVENTS[name]
            # How often is a matter of chance, but for what is killed.
            words = happened.format(count) if count > _CHANCE.get(name, 0) else never
            yield f"{words} ({count})" if self.exact and count and name != "killed" else words

    def draw(self, drawing: Drawing) -> None:
        """A box for each group of its own, with a bar for the use."""
        row = 1.6
        for usage in self.usages:
            own, met = is_limited(usage), is_met(usage)
            drawing.box(0, row, WIDEST, 3.4 if own else 1.3, ("alarm" if met else "own") if own else "shared")
            drawing.text(1, row + 0.1, usage.controller, bold=True)
            drawing.text(12, row + 0.1, shortened(_way(usage) if own else "no limit of its own", WIDEST - 13), "quiet")
            if own:
                self._draw_use(drawing, usage, row)
            row += 3.7 if own else 1.6

    def _draw_use(self, drawing: Drawing, usage: Usage, row: float) -> None:
        drawing.text(12, row + 1.15, limit_word(usage))
        if usage.share is not None:
            drawing.bar(36, row + 1.35, 18, usage.share if self.exact else _upper(usage.share), "good")
            drawing.text(56, row + 1.15, self._use(usage))
        drawing.text(12, row + 2.2, ", ".join(self._events(usage)), "alarm" if is_met(usage) else "quiet")


def is_limited(usage: Usage) -> bool:
    """Whether a group is the sandbox's own and has a limit. In version 2, the group comes first."""
    return "scratchlab" in usage.group and limit_word(usage) != "no limit"


def is_met(usage: Usage) -> bool:
    """Whether the kernel had to step in, more often than by chance."""
    return any(count > _CHANCE.get(name, 0) for name, count in usage.events.items())


def _way(usage: Usage) -> str:
    below = f" › {{{', '.join(usage.below)}}}" if usage.below else ""
    return " › ".join(["/", *usage.group]) + below


def share_word(share: float) -> str:
    """A share of a limit in words that do not change with every byte."""
    return next((word for most, word in _SHARES if share < most), "nearly all")


def _upper(share: float) -> float:
    """What the bar shows of a share: as coarse as the words."""
    return next((most for most, _ in _SHARES if share < most), 1.0)


def limit_word(usage: Usage) -> str:
    """A limit as people say it."""
    first, *more = usage.limit.split() or ["max"]
    if first == "max":
        return "no limit"
    if usage.controller == "cpu":
        return f"at most {100 * int(first) / int(more[0]):g} % of one CPU: {int(first) / 1000:g} ms in {int(more[0]) / 1000:g}"
    if usage.controller == "memory":
        return f"at most {readable(int(first))}"
    return f"at most {usage.limit}" + (" processes" if usage.controller == "pids" else "")


def cgroup(box: Sandbox, exact: bool = False) -> Groups:
    """The control groups of a sandbox: limit, use and events of each controller; `exact` shows numbers.  cgroups(7)"""
    return Groups(box.name, usage_of(living(box)), exact)
