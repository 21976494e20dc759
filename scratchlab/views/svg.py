"""A drawing: boxes, lines and text on a grid of characters, written as SVG.

Everything is measured in columns and rows of one fixed-width font, so that text can be laid out without asking a browser how
wide it is. What is drawn in the same order is the same bytes.
"""

import unicodedata
from collections.abc import Sequence
from html import escape
from textwrap import wrap

from scratchlab.views import palette

FONT = 16  # pixels: to be read from the last row of a room, at natural size
COLUMN, ROW = 10, 26  # of one character; a font of 16 is 9.6 wide
MARGIN = 16

_STYLE = (
    f"text{{font:{FONT}px 'DejaVu Sans Mono','Liberation Mono',Menlo,Consolas,monospace;white-space:pre}}"
    ".bold{font-weight:bold}.edge{fill:none;stroke-width:2}.dashed{stroke-dasharray:6 5}"
)


def printable(text: str) -> str:
    """Text with what cannot be shown, or turns the rest around, as a backslash and its number.

    SVG is XML, which takes no control characters.
    """
    return "".join(character if _shows(character) else _number(character) for character in text)


def _shows(character: str) -> bool:
    return character == " " or (character.isprintable() and not "\ud800" <= character <= "\udfff")


def _number(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as os.fsdecode keeps it
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def columns(text: str) -> int:
    """How many columns a text takes: two for each wide character, none for what combines."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def shortened(text: str, room: int) -> str:
    """A text that fits into `room` columns; what is cut away in the middle leaves an ellipsis."""
    text = printable(text)
    if columns(text) <= room:
        return text
    head, tail = "", ""
    for first, last in zip(text, reversed(text), strict=True):
        if columns(head + first) + columns(last + tail) > room - 1:
            break
        head, tail = head + first, last + tail
    return f"{head}…{tail}"


def wrapped(text: str, room: int) -> list[str]:
    """A text in lines of `room` columns, broken between words where it can be."""
    return wrap(printable(text), room, subsequent_indent="  ", break_on_hyphens=False) or [""]


class Drawing:
    """What was drawn so far, and how large it has become. Places are columns and rows, fractions too."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._right = self._bottom = 0.0

    def text(self, column: float, row: float, words: str, ink: str = "ink", bold: bool = False) -> None:
        """Words that begin in a column."""
        words = printable(words)
        self._reach(column + columns(words), row + 1)
        look = f"{ink} bold" if bold else ink
        self._parts.append(f'<text class="{look}" x="{_x(column)}" y="{_y(row + 0.68)}">{escape(words)}</text>')

    def upright(self, column: float, row: float, words: str, ink: str = "ink") -> None:
        """Words that begin in a row and run upwards: headings of narrow columns."""
        words = printable(words)
        self._reach(column + 1.5, row)
        turned = f"translate({_x(column + 0.5) + FONT // 3} {_y(row)}) rotate(-90)"
        self._parts.append(f'<text class="{ink}" transform="{turned}">{escape(words)}</text>')

    def box(self, column: float, row: float, width: float, height: float, fill: str = "page", dashed: bool = False) -> None:
        """A box with round corners."""
        self._reach(column + width, row + height)
        place = f'x="{_x(column)}" y="{_y(row)}" width="{_size(width, COLUMN)}" height="{_size(height, ROW)}"'
        look = f"fill-{fill} edge-{fill}" + (" dashed" if dashed else "")
        self._parts.append(f'<rect class="{look}" stroke-width="2" rx="6" {place}/>')

    def bar(self, column: float, row: float, width: float, share: float, fill: str = "own") -> None:
        """A bar of which a share is full, from 0 to 1."""
        self.box(column, row, width, 0.6)
        if share > 0:
            place = f'x="{_x(column)}" y="{_y(row)}" width="{_size(width * min(share, 1.0), COLUMN)}" height="{_size(0.6, ROW)}"'
            self._parts.append(f'<rect class="fill-{fill} edge-{fill}" stroke-width="2" rx="6" {place}/>')

    def line(self, places: Sequence[tuple[float, float]], edge: str = "page", dashed: bool = False, arrow: bool = False) -> None:
        """A line through places; with `arrow`, the last one is pointed at."""
        for column, row in places:
            self._reach(column, row)
        look = f"edge edge-{edge}" + (" dashed" if dashed else "")
        points = " ".join(f"{_x(column)},{_y(row)}" for column, row in places)
        self._parts.append(f'<polyline class="{look}" points="{points}"/>')
        if arrow:
            self._parts.append(_head(places[-2], places[-1], edge))

    def svg(self, title: str, description: str) -> str:
        """The whole picture. Title and description are what a screen reader says of it."""
        width, height = round(self._right * COLUMN) + 2 * MARGIN, round(self._bottom * ROW) + 2 * MARGIN
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}"><title>{_words(title)}</title><desc>{_words(description)}</desc>'
            f"<style>{_STYLE}{palette.css()}</style>"
            f'<rect class="fill-page" width="{width}" height="{height}" rx="8"/>{"".join(self._parts)}</svg>'
        )

    def _reach(self, column: float, row: float) -> None:
        self._right, self._bottom = max(self._right, column), max(self._bottom, row)


def _words(text: str) -> str:
    return escape("\n".join(printable(line) for line in text.split("\n")))


def _head(before: tuple[float, float], tip: tuple[float, float], edge: str) -> str:
    """The two strokes of an arrow's head, for lines that go straight along or straight down."""
    x, y = _x(tip[0]), _y(tip[1])
    along = tip[1] == before[1]
    step = 8 if (tip[0] if along else tip[1]) > (before[0] if along else before[1]) else -8
    ends = [(x - step, y - 5), (x - step, y + 5)] if along else [(x - 5, y - step), (x + 5, y - step)]
    points = f"{ends[0][0]},{ends[0][1]} {x},{y} {ends[1][0]},{ends[1][1]}"
    return f'<polyline class="edge edge-{edge}" points="{points}"/>'


def _x(column: float) -> int:
    return MARGIN + round(column * COLUMN)


def _y(row: float) -> int:
    return MARGIN + round(row * ROW)


def _size(count: float, unit: int) -> int:
    return round(count * unit)
