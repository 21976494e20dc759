"""The colours of all pictures, for a light page and a dark one. WCAG 2's contrast is computed in the tests, not believed."""

from typing import NamedTuple


class Pair(NamedTuple):
    """One colour on a light page, and on a dark one."""

    light: str
    dark: str


PAGE = Pair("#ffffff", "#16191d")

# What is written, drawn along, and filled in. A colour never stands alone for a meaning: words say the same.
INKS = {
    "ink": Pair("#1b1f24", "#eceff2"),
    "quiet": Pair("#4d5661", "#b3bcc7"),
    "own": Pair("#0b4f9e", "#9ccbff"),
    "good": Pair("#116329", "#7ee2a0"),
    "alarm": Pair("#a3171d", "#ffb0a8"),
}
FILLS = {
    "page": PAGE,
    "shared": Pair("#e9ecef", "#2d333b"),
    "own": Pair("#dcebff", "#12324f"),
    "good": Pair("#daf5e2", "#12351f"),
    "alarm": Pair("#ffe3e0", "#4a1a1a"),
}
EDGES = {
    "page": Pair("#6b7480", "#98a2ae"),
    "shared": Pair("#6b7480", "#98a2ae"),
    "own": Pair("#1a66c2", "#6fb1f7"),
    "good": Pair("#1d7f3b", "#4cc076"),
    "alarm": Pair("#c9302c", "#f2837a"),
}

# Which inks are used on which fills: the others need not be readable there.
WRITTEN_ON = {
    "page": tuple(INKS),
    "shared": ("ink", "quiet"),
    "own": ("ink", "quiet", "own"),
    "good": ("ink", "quiet", "good"),
    "alarm": ("ink", "quiet", "alarm"),
}


def css() -> str:
    """The rules for both pages. In an <img>, an SVG picture follows the reader's system by `prefers-color-scheme`."""
    dark = "".join(_rule(name, 1) for name in _rules())
    return "".join(_rule(name, 0) for name in _rules()) + "@media (prefers-color-scheme: dark){" + dark + "}"


def _rules() -> dict[str, tuple[str, Pair]]:
    rules = {f"text.{name}": ("fill", pair) for name, pair in INKS.items()}
    rules |= {f".fill-{name}": ("fill", pair) for name, pair in FILLS.items()}
    return rules | {f".edge-{name}": ("stroke", pair) for name, pair in EDGES.items()}


def _rule(name: str, page: int) -> str:
    what, pair = _rules()[name]
    return f"{name}{{{what}:{pair[page]}}}"
