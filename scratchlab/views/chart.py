"""What the control groups of a load counted while it ran: CPU and throttling, memory, pressure.  cgroups(7)"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scratchlab.observe.usage import Sample, Usage
from scratchlab.views.cgroup import limit_word, share_word
from scratchlab.views.picture import Picture, table
from scratchlab.views.svg import Drawing, shortened

SHOWN = 100  # looks that the chart is wide: the latest ones
_LEFT, _WIDTH, _HEIGHT = 24, 56, 3.0  # of one strip: columns before it, columns, rows
_CPU, _MEMORY, _PRESSURE = 1.8, 6.2, 10.6  # where each strip begins
_CPU_SCALES = (0.1, 0.25, 0.5, 1, 2, 4, 8)


class Rate(NamedTuple):
    """What happened between two looks."""

    seconds: float
    cpu: float  # CPUs in use
    throttled: float  # share of the periods in which the quota was used up
    memory: int  # bytes at the end of it
    pressure: Mapping[str, float]  # share of the time in which some process waited, by resource


def rate(before: Sample, after: Sample, seconds: float) -> Rate:
    """What happened from one look to the next."""
    periods = after.periods - before.periods
    stalled = {name: usec - before.stalled_usec.get(name, usec) for name, usec in after.stalled_usec.items()}
    return Rate(
        seconds=seconds,
        cpu=(after.cpu_usec - before.cpu_usec) / seconds / 1e6,
        throttled=(after.throttled - before.throttled) / periods if periods else 0.0,
        memory=after.memory,
        pressure={name: min(1.0, usec / seconds / 1e6) for name, usec in stalled.items()},
    )


@dataclass(frozen=True, repr=False)
class Chart(Picture):
    """One load, and the rates that were seen so far."""

    name: str
    argv: tuple[str, ...]
    limits: Mapping[str, Usage]
    rates: tuple[Rate, ...] = ()
    running: bool = False

    @property
    def title(self) -> str:
        """What runs where."""
        return f"{' '.join(self.argv)}, in {self.name}"

    def lines(self) -> list[str]:
        """In words that stay the same from run to run, as far as the kernel allows."""
        if self.running:
            return ["runs now; .stop() ends it, .wait() waits for its end"]
        return table(list(self._rows()))

    def _rows(self) -> Iterator[tuple[str, str]]:
        throttled = any(each.throttled for each in self.rates)
        yield "cpu", self._limit("cpu") + ("; throttled: had to wait for the next period" if throttled else "")
        if most := self._memory_limit():
            yield "memory", f"{self._limit('memory')}; used {share_word(max(self._memory(), default=0) / most)}"
        for resource in self.rates[-1].pressure if self.rates else ():
            yield f"{resource} pressure", _waiting([each.pressure.get(resource, 0.0) for each in self.rates])

    def summary(self) -> str:
        """All that the drawing says, in one line, also while the load runs."""
        return f"{'runs' if self.running else 'ended'}. " + ". ".join(f"{name}: {words}" for name, words in self._rows())

    def _limit(self, controller: str) -> str:
        return limit_word(self.limits[controller]) if controller in self.limits else "no limit"

    @property
    def cpu_limit(self) -> float | None:
        """The share of one CPU that the load may have, if it has a limit."""
        words = self.limits["cpu"].limit.split() if "cpu" in self.limits else []
        return int(words[0]) / int(words[1]) if words and words[0].isdigit() else None

    def _memory_limit(self) -> int | None:
        limit = self.limits["memory"].limit if "memory" in self.limits else ""
        return int(limit) if limit.isdigit() else None

    def _memory(self) -> list[int]:
        return [each.memory for each in self.rates[-SHOWN:]]

    # -- drawn --------------------------------------------------------------------------------------------------------

    def draw(self, drawing: Drawing) -> None:
        """Three strips, one below the other; what is latest is on the right."""
        rates = self.rates[-SHOWN:]
        top = self._cpu_scale(rates)
        _strip(drawing, _CPU, "CPU", f"top: {top:g} CPU{'' if top == 1 else 's'}", [each.cpu / top for each in rates])
        self._draw_limit(drawing, top)
        _draw_throttled(drawing, [each.throttled for each in rates])
        most = self._memory_limit() or max([*self._memory(), 1]) * 1.25
        _strip(drawing, _MEMORY, "memory", self._limit("memory"), [used / most for used in self._memory()])
        waited = [max(each.pressure.values(), default=0.0) for each in rates]
        _strip(drawing, _PRESSURE, "pressure", "share of time waited", waited)
        drawing.text(0, 14.2, self._state(), "quiet")

    def _state(self) -> str:
        if self.running and not self.rates:
            return "runs now"
        seconds = sum(each.seconds for each in self.rates)
        return f"{'runs for' if self.running else 'ended after'} {seconds:.1f} s; red bars: it had to wait for its quota"

    def _cpu_scale(self, rates: Sequence[Rate]) -> float:
        """How many CPUs the whole height of the strip is: a round number."""
        most = max([each.cpu for each in rates] + [1.6 * (self.cpu_limit or 0.0), 0.01])
        return next((scale for scale in _CPU_SCALES if most <= scale), float(round(most) + 1))

    def _draw_limit(self, drawing: Drawing, top: float) -> None:
        if limit := self.cpu_limit:
            row = _CPU + _HEIGHT * (1 - limit / top)
            drawing.line([(_LEFT, row), (_LEFT + _WIDTH, row)], "alarm", dashed=True)
            drawing.text(0, _CPU + 2.1, f"limit: {100 * limit:g} % of one", "alarm")


def _waiting(shares: Sequence[float]) -> str:
    """How much was waited, in words that do not change with every run."""
    most = sorted(shares)[len(shares) // 2]
    return "hardly waited" if most < 0.1 else "waited" if most < 0.5 else "waited for most of the time"


def _columns(count: int) -> list[float]:
    return [_LEFT + _WIDTH * (SHOWN - count + number) / SHOWN for number in range(count)]


def _strip(drawing: Drawing, row: float, name: str, words: str, values: Sequence[float]) -> None:
    """A framed line of values from 0 to 1."""
    drawing.text(0, row, name, bold=True)
    drawing.text(0, row + 1.05, shortened(words, _LEFT - 1), "quiet")
    drawing.box(_LEFT, row, _WIDTH, _HEIGHT)
    heights = [row + _HEIGHT * (1 - min(max(value, 0.0), 1.0)) for value in values]
    if len(heights) > 1:
        drawing.line(list(zip(_columns(len(heights)), heights, strict=True)), "own")


def _draw_throttled(drawing: Drawing, shares: Sequence[float]) -> None:
    """A short red bar at the foot of the strip for each look in which the load was throttled."""
    for column, share in zip(_columns(len(shares)), shares, strict=True):
        if share > 0:
            drawing.line([(column, _CPU + _HEIGHT), (column, _CPU + _HEIGHT - 0.6)], "alarm")
