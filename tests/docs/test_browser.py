"""The pages in a browser: pictures are drawn in the colours of the page, and a phone shows all without moving it sideways."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import needs
from tests.views.jupyterlab import CHROMIUM

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: run as `sudo ./lab test`")
pytestmark = needs(CHROMIUM, "needs a browser: apt install chromium")

PICTURE = ".cell_output img"
DRAWN = "images => images.map(image => image.complete && image.naturalWidth > 0 && image.alt.length > 0)"


class Reader:
    """Somebody with a browser."""

    def __init__(self, browser: Any, html: Path) -> None:
        self.browser, self.html = browser, html
        self.errors: list[str] = []

    def opens(self, name: str, width: int = 1280, scheme: str = "light") -> Any:
        """A page, on a screen of this width, on a system of this colour scheme."""
        page = self.browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.goto(f"file://{self.html}/{name}.html")
        return page


@pytest.fixture(scope="module")
def reader(built: Path) -> Iterator[Reader]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield Reader(browser, built)
        browser.close()


def shade(page: Any) -> str:
    """What the first picture of a page looks like."""
    picture = page.locator(PICTURE).first
    picture.scroll_into_view_if_needed()
    return str(picture.screenshot().hex())


def test_every_picture_of_a_lesson_is_drawn_and_has_its_text(reader: Reader) -> None:
    drawn = reader.opens("lessons/02-chroot").locator(PICTURE).evaluate_all(DRAWN)

    assert len(drawn) >= 2 and all(drawn)
    assert reader.errors == []


def test_pictures_follow_the_readers_system_and_the_switch_of_the_page(reader: Reader) -> None:
    light, dark = (reader.opens("lessons/02-chroot", scheme=scheme) for scheme in ("light", "dark"))
    switched = reader.opens("lessons/02-chroot")
    switched.evaluate("() => { document.body.dataset.theme = 'dark' }")

    assert shade(light) != shade(dark) == shade(switched)


@pytest.mark.parametrize(
    "name", ["index", "stages/nat", "attacks/index", "api/sandbox", "glossary", "judges", "lessons/02-chroot"]
)
def test_a_phone_shows_a_page_without_moving_it_sideways(reader: Reader, name: str) -> None:
    assert reader.opens(name, width=390).evaluate("document.documentElement.scrollWidth") == 390
