"""The documentation: it builds offline without a warning, no link in it is dead, and what it says was measured here."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from scratchlab.attacks import ATTACKS
from scratchlab.lessons import numbers, outline, shelf
from scratchlab.lessons.notebook import source
from scratchlab.stages import STAGES, about
from tests.command_line import ROOT


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the one in conftest.py, which waits for what other tests leave: nothing here does more than read."""


class Page(HTMLParser):
    """What one page has for others to link to, and what it links to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.text = path, path.read_text()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []  # without being asked
        self.words: list[str] = []
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[key] for key in ("id", "name") if key in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag in ("img", "script", "iframe") and "src" in found:
            self.loads.append(found["src"])
        elif tag == "link" and found.get("rel") not in ("canonical", "next", "prev", "index", "search"):
            self.loads.append(found.get("href", ""))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def said(self) -> str:
        """What a reader sees, in one line, with plain quotation marks."""
        return " ".join(" ".join(self.words).split()).translate(str.maketrans("“”‘’", "\"\"''"))


@pytest.fixture(scope="session")
def pages(built: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(built.rglob("*.html"))}


def page(pages: dict[Path, Page], name: str) -> Page:
    return next(found for path, found in pages.items() if path.as_posix().endswith(f"/html/{name}.html"))


# -- links ------------------------------------------------------------------------------------------------------------


def dead(pages: dict[Path, Page], of: Page, links: list[str]) -> Iterator[str]:
    """The links of a page that lead nowhere, among those that stay in the documentation."""
    for link in links:
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (of.path.parent / unquote(parts.path)).resolve() if parts.path else of.path
        if not target.is_file() or (parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors):
            yield f"{of.path.name}: {link}"


def test_every_link_and_anchor_in_the_pages_leads_somewhere(pages: dict[Path, Page]) -> None:
    assert len(pages) > 100
    assert [link for each in pages.values() for link in dead(pages, each, each.links)] == []


def test_every_picture_script_and_style_is_there_and_nothing_is_loaded_from_elsewhere(pages: dict[Path, Page]) -> None:
    loads = {each.path: each.loads for each in pages.values()}

    assert [load for each in pages.values() for load in dead(pages, each, each.loads)] == []
    assert {load for found in loads.values() for load in found if urlsplit(load).scheme not in ("", "data")} == set()


def test_a_dead_link_is_found(pages: dict[Path, Page]) -> None:
    index = page(pages, "index")

    assert list(dead(pages, index, ["nowhere.html", "index.html#nowhere", "#nowhere", "https://elsewhere", "genindex.html"])) == [
        "index.html: nowhere.html",
        "index.html: index.html#nowhere",
        "index.html: #nowhere",
    ]


# -- what there is a page for -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", numbers())
def test_a_lesson_is_on_the_front_page_with_its_minutes_and_has_its_outputs(pages: dict[Path, Page], number: str) -> None:
    lesson = outline(number)
    (name,) = [path.stem for path in (ROOT / "notebooks").glob(f"{number}-*.ipynb")]

    assert f"{int(number)}. {lesson.title} {lesson.minutes}" in page(pages, "index").said
    assert "nothing is left: no process, journal, control group, link or file" in page(pages, f"lessons/{name}").said


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_has_a_page_with_its_notations_and_its_source(pages: dict[Path, Page], name: str) -> None:
    said, known = page(pages, f"stages/{name}").said.replace(" ", ""), about(STAGES[name])

    for words in (known.shell, known.engine, *known.man, f"def {name}(", str(STAGES[name].__doc__).partition("\n")[0]):
        assert "".join(words.replace("`", "").split()) in said
    assert f"{name}.html" in page(pages, "stages/index").links


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_has_a_page_and_each_of_its_walls_leads_there(pages: dict[Path, Page], name: str) -> None:
    from scratchlab import attacks

    of = page(pages, f"attacks/{name}")
    for wall in (wall for wall in attacks.about(ATTACKS[name]).stopped_by if wall in STAGES):
        assert f"../stages/{wall}.html" in of.links
        assert f"../attacks/{name}.html" in page(pages, f"stages/{wall}").links


def test_a_name_of_the_library_is_described_with_its_signature(pages: dict[Path, Page]) -> None:
    import scratchlab

    index = page(pages, "api/index")
    assert {link.rpartition(".")[2] for link in index.links if "scratchlab." in urlsplit(link).fragment} == set(dir(scratchlab))
    assert (
        "apply ( stage : Callable [ ... , Any ] , / , * args : Any , ** kwargs : Any ) → Applied"
        in page(pages, "api/sandbox").said
    )


# -- the glossary -----------------------------------------------------------------------------------------------------


def entries() -> dict[str, str]:
    """The terms of the glossary with what it says of each."""
    text = (ROOT / "docs" / "glossary.md").read_text().partition("```{glossary}\n")[2].rpartition("```")[0]
    return {entry.partition("\n")[0]: " ".join(entry.split("\n")[1:]) for entry in text.strip().split("\n\n")}


def printed_bold(path: Path) -> set[str]:
    """The terms of a lesson: what stands in bold, but for the words that a paragraph begins with."""
    prose = "\n\n".join(source(cell) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "markdown")
    words = [" ".join(word.split()) for word in re.findall(r"\*\*([^*]+)\*\*", prose)]
    return {word.lower() for word in words if word[-1] not in ".:?"}


def test_every_term_that_a_lesson_prints_bold_is_in_the_glossary_with_the_first_lesson_that_does() -> None:
    said = {term.lower(): text for term, text in entries().items()}
    first: dict[str, int] = {}
    for lesson in shelf.lessons():
        for word in printed_bold(lesson.path):
            first.setdefault(word if word in said else word.removesuffix("s"), int(lesson.number))

    assert len(first) > len(shelf.lessons())
    assert {word: number for word, number in first.items() if f"Lesson {number}." not in said.get(word, "")} == {}


def test_every_entry_of_the_glossary_names_a_manual_page_and_a_lesson_that_prints_it_bold() -> None:
    bold = {int(lesson.number): printed_bold(lesson.path) for lesson in shelf.lessons()}

    for term, text in entries().items():
        found = re.fullmatch(r".+ [\w.-]+\(\d\w*\)\. +Lesson (\d+)\.", text)
        assert found, term
        assert {term.lower(), f"{term.lower()}s"} & bold.get(int(found[1]), {term.lower()}), term
