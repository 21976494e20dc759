"""The chart as a widget: the drawing, a stop button, and if wanted a slider for the limit. Imported in notebooks only.

Widgets of ipywidgets alone, and no JavaScript of ours: what moves is one image. docs/decisions/0015
"""

import sys
from html import escape
from typing import TYPE_CHECKING, Any

from scratchlab.errors import ScratchlabError
from scratchlab.views.chart import Chart

if TYPE_CHECKING:
    from scratchlab.views.live import Live


class Panel:
    """What moves on the page. Its pictures come from a thread; its clicks may come in another one."""

    def __init__(self, live: "Live", slider: bool) -> None:
        import ipywidgets

        self._image = ipywidgets.Image(format="svg+xml", value=b"")
        self._stop = ipywidgets.Button(description="stop", tooltip="end the load now")
        self._stop.on_click(lambda _: live.ask_to_stop())
        self._words = ipywidgets.HTML()  # what the image says, for those who do not see it: an Image takes no alternative
        controls = [self._stop, *([self._slider(ipywidgets, live)] if slider else [])]
        self._box = ipywidgets.VBox([self._image, ipywidgets.HBox(controls), self._words])

    def _slider(self, widgets: Any, live: "Live") -> Any:
        percent = round(100 * (live.chart().cpu_limit or 1.0))
        made = widgets.IntSlider(percent, 5, 100, 5, description="% of one CPU", continuous_update=False)
        made.style.description_width = "initial"
        made.observe(lambda change: self._limit(live, change["new"]), "value")
        return made

    def _limit(self, live: "Live", percent: int) -> None:
        try:
            live.limit_cpu(percent / 100)
        except ScratchlabError as error:  # the sandbox is gone: nobody else will hear of it
            self._words.value = escape(error.message)

    def show(self, chart: Chart) -> None:
        """Draw what is known by now."""
        self._image.value = chart.svg().encode()
        self._words.value = escape(chart.summary())
        self._stop.disabled = not chart.running

    def view(self) -> dict[str, Any]:
        """What the notebook needs to know to show it."""
        bundle: dict[str, Any] = self._box._repr_mimebundle_()
        return bundle


def panel(live: "Live", slider: bool) -> Panel | None:
    """A panel where there is a notebook to show it."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return Panel(live, slider) if hasattr(shell, "kernel") else None
