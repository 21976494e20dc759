"""A lesson in JupyterLab, as a learner has it: it waits for a guess, the guess is a click, and the answer stands beside it."""

import json
import os
from pathlib import Path

import pytest

from scratchlab.lessons.notebook import stored, students
from scratchlab.lessons.predict import UNATTENDED
from tests.conftest import eventually, needs, needs_root
from tests.views.jupyterlab import CHROMIUM, Page, served

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: run as `sudo ./lab test`")
pytestmark = [needs_root, needs(CHROMIUM, "needs a browser: apt install chromium")]

LESSON = Path(__file__).resolve().parent.parent.parent / "notebooks" / "07-being-pid-1.ipynb"


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.delenv(UNATTENDED, raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    (tmp_path / LESSON.name).write_text(stored(students(json.loads(LESSON.read_text()))))
    with served(tmp_path) as (address, chromium), sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield Page(browser, address.format(LESSON.name))
        browser.close()


def test_a_lesson_waits_for_a_guess_which_is_a_click(lab, tmp_path):
    lab.run_all()

    # Asked for its text, and not waited for until it is visible: cells out of sight are not drawn.
    eventually(lambda: bool(lab.trouble()))
    assert [text.strip().splitlines()[0] for text in lab.trouble()] == ["InputError: you have not guessed yet"]

    option = lab.page.get_by_label("only its own").first
    option.scroll_into_view_if_needed()
    option.check()
    lab.photograph(Path(os.environ.get("SCRATCHLAB_SCREENSHOTS", tmp_path)) / "predict.png", ".jp-Notebook .jp-Cell", 6)
    cell = lab.page.locator(".jp-Notebook .jp-CodeCell", has_text="guess.reveal").first
    cell.locator(".cm-content").click()
    lab.page.keyboard.press("Control+Enter")

    said = eventually(lambda: "kernel   all of the host's   ← look again" in cell.inner_text(), True)
    assert said, cell.inner_text()
    assert lab.errors == []
    kept = tmp_path / ".home/.local/share/scratchlab/progress.json"
    assert json.loads(kept.read_text()) == {"07": {"guesses": [0, 1]}}
