"""What all drawings have in common: colours that can be read, letters that are large enough, and text that stays text."""

import re
from xml.etree import ElementTree

import pytest

from scratchlab.views import palette, svg
from scratchlab.views.svg import Drawing, columns, printable, shortened
from tests.views.reading import HOSTILE, SVG

PAGES = {"light": 0, "dark": 1}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the one in conftest.py, which asks the machine twice for each test: nothing here makes anything."""


def luminance(colour: str) -> float:
    """WCAG 2's relative luminance of #rrggbb."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio, from 1 to 21."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_the_contrast_of_the_tests_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("fill", palette.WRITTEN_ON)
def test_every_text_can_be_read_on_every_fill_that_it_is_written_on(page: str, fill: str) -> None:
    ground = palette.FILLS[fill][PAGES[page]]
    ratios = {ink: contrast(palette.INKS[ink][PAGES[page]], ground) for ink in palette.WRITTEN_ON[fill]}

    assert {ink: round(ratio, 2) for ink, ratio in ratios.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("edge", palette.EDGES)
def test_every_edge_can_be_seen_on_the_page(page: str, edge: str) -> None:
    assert contrast(palette.EDGES[edge][PAGES[page]], palette.PAGE[PAGES[page]]) >= 3


def test_both_pages_have_every_colour_and_the_dark_one_comes_by_the_readers_wish() -> None:
    light, dark = palette.css().split("@media (prefers-color-scheme: dark)")

    assert re.findall(r"[\w.-]+\{", light) == re.findall(r"[\w.-]+\{", dark)


def test_letters_are_large_enough_for_the_last_row_of_a_room() -> None:
    assert svg.FONT >= 14
    assert svg.COLUMN >= 0.602 * svg.FONT  # the widest of the usual fixed-width fonts


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_a_thing_is_called_it_is_text_in_a_drawing(name: str) -> None:
    drawing = Drawing()
    drawing.text(0, 0, name)
    drawing.upright(0, 2, name)

    root = ElementTree.fromstring(drawing.svg(name, name))

    assert [text.text or "" for text in root.iter(f"{SVG}text")] == [printable(name)] * 2
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == {"svg", "title", "desc", "style", "rect", "text"}


def test_what_cannot_be_shown_is_shown_by_its_number() -> None:
    assert printable("a\x00\n\x1b[0m\u202e\udcff é鯨🐳") == "a\\x00\\x0a\\x1b[0m\\u202e\\xff é鯨🐳"


def test_wide_characters_take_two_columns_and_accents_none() -> None:
    assert columns("abc鯨🐳e\u0301") == 3 + 4 + 1


@pytest.mark.parametrize("text", ["", "short", "x" * 200, "鯨" * 99, "🐳" * 30])
@pytest.mark.parametrize("room", [5, 10, 40])
def test_a_long_text_is_cut_in_the_middle(text: str, room: int) -> None:
    cut = shortened(text, room)

    assert columns(cut) <= room
    assert cut == text if columns(text) <= room else "…" in cut


def test_a_drawing_is_as_large_as_what_is_on_it() -> None:
    drawing = Drawing()
    drawing.box(10, 1, 20, 3)
    drawing.text(0, 0, "x" * 50)
    drawing.line([(0, 0), (10, 9)], arrow=True)

    root = ElementTree.fromstring(drawing.svg("", ""))

    assert (int(root.attrib["width"]), int(root.attrib["height"])) == (50 * 10 + 32, 9 * 26 + 32)
