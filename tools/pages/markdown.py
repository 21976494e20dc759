"""Pieces of Markdown, as MyST reads it."""

import re
from collections.abc import Iterable, Sequence


def fenced(text: str, language: str = "text") -> str:
    """Text in a code block; its fence is longer than any in the text."""
    longest = max((len(found) for found in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; what stands in a cell may hold no line break."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def page(*parts: str) -> str:
    """Parts of a page, with the empty ones left out."""
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"
