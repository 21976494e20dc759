"""The lessons, as the front page lists them, and which of them are about a name of the library."""

import json
import re
from functools import cache
from pathlib import Path

from scratchlab.lessons import outline
from scratchlab.lessons.notebook import source
from tools.pages.markdown import table

FOLDER = Path(__file__).resolve().parent.parent.parent / "notebooks"


def notebooks() -> list[Path]:
    """The notebooks of the lessons, in their order."""
    return sorted(FOLDER.glob("[0-9][0-9]-*.ipynb"))


def title(path: Path) -> str:
    """A lesson's number and title."""
    return f"{int(path.name[:2])}. {outline(path.name[:2]).title}"


def pages() -> dict[str, str]:
    """The table of lessons, to be included."""
    rows = [(f"[{title(path)}](/lessons/{path.name})", str(outline(path.name[:2]).minutes)) for path in notebooks()]
    return {"lessons/table.txt": table(("lesson", "minutes"), rows) + "\n"}


def about(name: str, folder: str = "../lessons") -> list[str]:
    """Links to the lessons whose cells use a name of the library, such as `stages.pivot`."""
    return [f"[{title(path)}]({folder}/{path.name})" for path in notebooks() if re.search(rf"\b{re.escape(name)}\b", _code(path))]


@cache
def _code(path: Path) -> str:
    cells = json.loads(path.read_text())["cells"]
    return "\n".join(source(cell) for cell in cells if cell["cell_type"] == "code")


def linked(text: str) -> str:
    """A text in which `Lesson 7.` is a link to that lesson, once it is there."""
    paths = {int(path.name[:2]): path.name for path in notebooks()}
    return re.sub(r"\bLesson (\d+)(?=\.)", lambda found: _link(found[0], paths.get(int(found[1]))), text)


def _link(words: str, name: str | None) -> str:
    return f"[{words}](lessons/{name})" if name else words
