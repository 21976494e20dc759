"""A first-time reader: from the address that `scratchlab lab` prints to the end of a lesson in the root VM, in a browser."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scratchlab.lessons.predict import UNATTENDED
from tests.conftest import eventually, needs, needs_root
from tests.lab.served import Served, lab
from tests.views.jupyterlab import CHROMIUM, Page, browser_for

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: run as `sudo ./lab test`")
pytestmark = [needs_root, needs(CHROMIUM, "needs a browser: apt install chromium")]

LESSON = "01-a-process.ipynb"


class Reader(Page):
    """Somebody who has only a mouse and a keyboard."""

    def active(self) -> Any:
        """The cell that is selected."""
        return self.page.locator(".jp-Notebook .jp-Cell.jp-mod-active")

    def run_cell(self) -> str:
        """Press Shift-Enter, and wait until the cell has run. Gives what it said before."""
        said = str(self.active().inner_text())
        self.page.keyboard.press("Shift+Enter")
        self.page.wait_for_function("() => ![...document.querySelectorAll('.jp-InputPrompt')].some(e => e.innerText == '[*]:')")
        return said

    def guess(self) -> None:
        """Click an option wherever none is chosen yet."""
        for group in self.page.locator(".jp-Notebook .widget-radio-box").all():
            if not group.locator("input:checked").count():
                group.locator("input").first.check()

    def menu(self, *names: str) -> None:
        """Choose something in the menu bar."""
        self.page.locator(".lm-MenuBar-itemLabel", has_text=names[0]).first.click()
        for name in names[1:-1]:
            self.page.locator(".lm-Menu-itemLabel", has_text=name).first.hover()
        self.page.locator(".lm-Menu-itemLabel", has_text=names[-1]).first.click()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reader")


@pytest.fixture(scope="module")
def served(built: None, folder: Path) -> Iterator[Served]:
    with lab(folder / "mine", "--no-browser", XDG_DATA_HOME=str(folder / "data"), **{UNATTENDED: ""}) as served:
        yield served


@pytest.fixture(scope="module")
def reader(served: Served, folder: Path) -> Iterator[Reader]:
    port = int(served.address.split("/")[2].rpartition(":")[2])
    with browser_for(port, folder) as chromium, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield Reader(browser, served.address, waits_for=".jp-MarkdownViewer h1")
        browser.close()


@pytest.fixture(autouse=True)
def no_machine_left() -> None:
    """In place of the one for single tests: all tests here share one machine, and test_lab.py looks at what is left."""


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the one in conftest.py: what the lesson does, it does in that machine."""


def kernel(served: Served) -> str:
    """The kernel of the lesson."""
    return next(session["kernel"]["id"] for session in served.ask("sessions") if session["path"] == LESSON)


def photograph(reader: Reader, folder: Path, name: str) -> None:
    reader.page.screenshot(path=Path(os.environ.get("SCRATCHLAB_SCREENSHOTS", folder)) / f"reader-{name}.png")


def test_the_address_shows_the_index_and_a_link_there_opens_a_lesson(reader: Reader, folder: Path) -> None:
    photograph(reader, folder, "index")
    reader.page.get_by_role("link", name="1. A process, and nothing else").click()
    reader.page.wait_for_selector(".jp-Notebook .jp-Cell")

    reader.page.locator(".jp-KernelName", has_text="Scratchlab (root VM)").wait_for()


def test_shift_enter_and_clicks_lead_through_the_whole_lesson_without_an_error(reader: Reader, folder: Path) -> None:
    reader.page.locator(".jp-Notebook .jp-Cell").first.click()
    for _ in range(100):
        said = reader.run_cell()
        reader.guess()
        if "lesson.close()" in said:
            break
    photograph(reader, folder, "end")

    assert "lesson.close()" in said
    assert reader.trouble() == []
    assert reader.errors == []


def test_the_progress_is_the_learners_and_not_the_machines(reader: Reader, folder: Path) -> None:
    kept = folder / "data/scratchlab/progress.json"

    assert eventually(lambda: '"guesses"' in kept.read_text() if kept.exists() else False)


def test_a_terminal_of_jupyterlab_enters_the_machine_of_the_lesson(reader: Reader, served: Served, folder: Path) -> None:
    reader.menu("File", "New", "Terminal")
    reader.page.wait_for_selector(".jp-Terminal .xterm-screen")
    reader.page.locator(".jp-Terminal").click()
    reader.page.keyboard.type("scratchlab vm shell --notebook 01\n")
    # What is typed while the shell starts waits for it; and should it not start, this machine has no such directory.
    reader.page.keyboard.type("test -e /opt/scratchlab && stty size > /root/new && mv /root/new /root/seen\n")

    assert eventually(lambda: served.value(kernel(served), "os.path.exists('/root/seen')"))
    assert int(served.value(kernel(served), "open('/root/seen').read()").split()[1]) > 80  # as wide as it is on the page
    photograph(reader, folder, "terminal")
    reader.page.locator(".lm-TabBar-tabLabel", has_text=LESSON).click()


def test_a_cell_that_does_not_end_is_interrupted_with_the_button(reader: Reader, folder: Path) -> None:
    last = reader.page.locator(".jp-Notebook .jp-CodeCell", has_text="lesson.close()").locator(".jp-InputPrompt")
    last.scroll_into_view_if_needed()
    last.click()
    reader.page.keyboard.press("b")
    reader.page.locator(".jp-Notebook .jp-mod-active .jp-InputPrompt", has_text="[ ]:").wait_for()
    reader.page.keyboard.press("Enter")
    reader.page.keyboard.insert_text("import time; print('it runs'); time.sleep(1000)")
    reader.page.keyboard.press("Control+Enter")
    # Before that ipykernel would lose the interrupt, and the cell with it.
    reader.page.locator(".jp-Notebook .jp-mod-active .jp-OutputArea-output", has_text="it runs").wait_for()
    stop = reader.page.locator('.jp-NotebookPanel-toolbar [data-command="notebook:interrupt-kernel"]')

    def stopped() -> bool:
        return any("KeyboardInterrupt" in text for text in reader.trouble())

    for _ in range(10):  # again if nothing happens, as a person does; not faster, for each one interrupts what the last one began
        stop.click()
        if eventually(stopped, patience=3):
            break
    photograph(reader, folder, "interrupted")
    assert stopped()


def test_restart_gives_a_clean_machine(reader: Reader, served: Served) -> None:
    reader.page.locator('.jp-NotebookPanel-toolbar [data-command="notebook:restart-kernel"]').click()
    reader.page.locator(".jp-Dialog .jp-mod-accept").click()

    assert eventually(lambda: served.value(kernel(served), "os.path.exists('/root/seen')"), False, patience=60) is False
    assert reader.errors == []


def test_the_lesson_ends_with_a_link_to_the_next(reader: Reader) -> None:
    reader.page.locator(".jp-Notebook .jp-Cell", has_text="Next:").get_by_role("link", name="2. A root").click()

    reader.page.locator(".lm-TabBar-tabLabel", has_text="02-chroot.ipynb").wait_for()
