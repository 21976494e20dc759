"""What every picture is: frozen data, a text that says all of it, and a drawing of the same."""

import base64
from abc import ABC, abstractmethod
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from scratchlab import display
from scratchlab.views.svg import Drawing, columns, printable, shortened

WIDEST = 80  # columns of a picture: a notebook on a projector has room for no more at full size


class Picture(ABC):
    """A picture. Its repr is its text; in a notebook it is an image with that text as its alternative."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What it shows, in one line."""

    @abstractmethod
    def lines(self) -> list[str]:
        """The text below the title."""

    @abstractmethod
    def draw(self, drawing: Drawing) -> None:
        """Draw what is below the title."""

    def svg(self) -> str:
        """The drawing; the same data gives the same bytes."""
        drawing = Drawing()
        drawing.text(0, 0, shortened(self.title, WIDEST), bold=True)
        self.draw(drawing)
        return drawing.svg(self.title, repr(self))

    def save(self, path: str | Path) -> None:
        """Write the drawing to a file, for a slide or a handout."""
        Path(path).write_text(self.svg(), encoding="utf-8")

    def __repr__(self) -> str:
        return "\n".join(printable(line) for line in [self.title, *(f"  {line}".rstrip() for line in self.lines())])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return display.bundle(self)


@display.html.register
def image(picture: Picture) -> str:
    """The drawing as an <img>: a notebook that is not trusted shows that too, where it would drop inline SVG."""
    data = base64.b64encode(picture.svg().encode()).decode()
    # Line breaks as numbers: an attribute may not hold them raw.
    alternative = escape(repr(picture)).replace("\n", "&#10;")
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{alternative}">'


def table(rows: Sequence[Sequence[str]], gap: int = 3) -> list[str]:
    """Rows of words as lines whose columns stand below each other."""
    rows = [[printable(word) for word in row] for row in rows]
    widths = [max(columns(word) for word in column) for column in zip(*rows, strict=True)]
    return [
        (" " * gap).join(word + " " * (width - columns(word)) for word, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
