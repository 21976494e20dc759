"""Pieces of Markdown, as MyST reads it."""

import re
from collections.abc import Iterable, Sequence

_PAGE = re.compile(r"(?<![\w/.])([\w.+-]*\w)\((\d\w*)\)")  # hostname(7), PR_SET_NO_NEW_PRIVS(2const)


def fenced(text: str, language: str = "text") -> str:
    """Text in a code block; its fence is longer than any in the text."""
    longest = max((len(found) for found in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def manual(text: str) -> str:
    """Text in which each manual page is a link to it; code is left as it is."""
    pieces = re.split(r"(`[^`\n]*`|^ {4}.*$)", text, flags=re.MULTILINE)
    return "".join(piece if number % 2 else _PAGE.sub(r"{manpage}`\1(\2)`", piece) for number, piece in enumerate(pieces))


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; what stands in a cell may hold no line break."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def page(*parts: str) -> str:
    """Parts of a page, with the empty ones left out."""
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"
