"""A load that runs in a sandbox, with a chart that moves: a thread reads the counters ten times a second.

In a notebook the chart is a widget with a stop button. Elsewhere, and in a stored notebook, it is the text and the drawing;
the widget shows that very same drawing, again and again.
"""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratchlab import display
from scratchlab.errors import ScratchlabError
from scratchlab.observe.usage import sample, usage_of
from scratchlab.sandbox import Finished, Sandbox
from scratchlab.stages import cpu, step
from scratchlab.views.chart import Chart, Rate, rate
from scratchlab.views.subject import living

if TYPE_CHECKING:
    from scratchlab.views.panel import Panel

EVERY = 0.1  # seconds between two looks


class Live:
    """A load that runs for some seconds, and what its control groups count meanwhile."""

    def __init__(self, box: Sandbox, argv: Sequence[str], seconds: float, slider: bool) -> None:
        self.finished: Finished | None = None
        self._box, self._argv, self._seconds, self._slider = box, tuple(argv), seconds, slider
        self._rates: list[Rate] = []
        self._limits = {usage.controller: usage for usage in usage_of(living(box))}
        self._stop, self._over = threading.Event(), threading.Event()
        self._trouble: ScratchlabError | OSError | None = None
        self._panel: Panel | None = None
        self._load = box.start(*argv)
        self._thread = threading.Thread(target=self._watch, name="scratchlab live", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        try:
            self._look_until_ended()
            self.finished = self._load.stop() if self._stop.is_set() else self._load.wait(0)
        except (ScratchlabError, OSError) as error:  # the sandbox was closed, or died: wait() will tell
            self._trouble = error
        self._over.set()
        self._show()

    def _look_until_ended(self) -> None:
        last, then = sample(self._box.pid), time.monotonic()
        deadline = then + self._seconds
        while then < deadline and not self._load.ended(EVERY) and not self._stop.is_set():
            now, moment = sample(self._box.pid), time.monotonic()
            self._rates.append(rate(last, now, moment - then))
            last, then = now, moment
            self._show()

    def _show(self) -> None:
        if self._panel:
            self._panel.show(self.chart())

    # -- what one can do with it --------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether the load still runs."""
        return not self._over.is_set()

    def chart(self) -> Chart:
        """What was seen so far, as a picture that does not move."""
        return Chart(self._box.name, self._argv, self._limits, tuple(self._rates), self.running)

    def stop(self) -> "Live":
        """End the load now."""
        self.ask_to_stop()
        return self.wait()

    def wait(self) -> "Live":
        """Wait until the load has ended. Raises what went wrong meanwhile."""
        self._thread.join()
        if self._trouble:
            raise self._trouble
        return self

    def ask_to_stop(self) -> None:
        """End the load soon: for a button, which must not wait."""
        self._stop.set()

    def limit_cpu(self, share: float) -> None:
        """Set another share of one CPU while the load runs: a step like any other."""
        self._box.play([step(cpu, share)])
        self._limits = {usage.controller: usage for usage in usage_of(self._box.pid)}

    def save(self, path: str | Path) -> None:
        """Write the chart to a file."""
        self.chart().save(path)

    def __repr__(self) -> str:
        return repr(self.chart())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        from scratchlab.views.panel import panel

        seen = self.chart()
        if not self.running:
            return display.bundle(seen)
        # What a notebook stores of a load that runs is the same each time: a chart with nothing on it yet.
        bundle: dict[str, Any] = display.bundle(Chart(seen.name, seen.argv, seen.limits, running=True))
        if shown := self._panel or panel(self, self._slider):
            self._panel = shown
            shown.show(self.chart())
            bundle = {**shown.view(), **bundle}
        return bundle


def live(box: Sandbox, *argv: str, seconds: float = 20.0, slider: bool = False) -> Live:
    """Run a load in a sandbox, and draw what its control groups count; `slider` moves the CPU's limit.  cgroups(7)"""
    return Live(box, argv, seconds, slider)
