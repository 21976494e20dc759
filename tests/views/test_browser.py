"""The pictures and the chart in JupyterLab, as a reader has them: in a browser, in both themes, trusted or not.

Screenshots of every picture go to the folder that SCRATCHLAB_SCREENSHOTS names, for people to look at.
"""

import os
from pathlib import Path

import pytest

from tests.conftest import needs, needs_root
from tests.views.jupyterlab import CHROMIUM, Page, served, write_notebook

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: run as `sudo ./lab test`")
pytestmark = [needs_root, needs(CHROMIUM, "needs a browser: apt install chromium")]

CELLS = {
    "load": "%load_ext scratchlab\nfrom scratchlab import Sandbox, show, stages, views\nbox = Sandbox('seen')",
    "build": """
for step in [(stages.cpu, 0.2), (stages.memory, '64M'), (stages.unshare_uts,), (stages.unshare_pid,), (stages.unshare_mount,),
             (stages.private_mounts,), (stages.proc,), (stages.unshare_net,), (stages.veth,), (stages.nat,),
             (stages.publish, '18090:80')]:
    done = box.apply(*step)
sleeping = box.start('sleep', '1000')
""",
    "live": "chart = views.live(box, 'sh', '-c', 'while :; do :; done', seconds=600, slider=True)\nchart",
    "namespaces": "views.namespaces(box)",
    "mounts": "views.mounts(box)",
    "processes": "views.processes(box)",
    "wiring": "views.wiring(box)",
    "packet": "views.packet(box, '127.0.0.1:18090')",
    "cgroup": "views.cgroup(box)",
    "ledger": "views.ledger(done)",
    "show": "show(stages.hostname)",
    "both": "%%both box\nps -e -o comm | head -3",
}
PICTURES = ("namespaces", "mounts", "processes", "wiring", "packet", "cgroup", "ledger")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def lab(folder):
    """The address of a JupyterLab, and a browser."""
    write_notebook(folder / "seen.ipynb", CELLS)
    with served(folder) as (address, chromium), sync_api.sync_playwright() as playwright:
        # Chromium's own sandbox refuses root.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield address, browser
        browser.close()


@pytest.fixture(scope="module")
def ran(lab):
    """The notebook after all its cells have run; the load of the chart runs still."""
    address, browser = lab
    page = Page(browser, address.format("seen.ipynb"))
    page.run_all()
    return page


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """In place of the one in conftest.py: the sandbox of the notebook lives as long as all tests here."""


def test_all_cells_run_without_an_error_in_a_cell_or_on_the_page(ran):
    assert ran.trouble() == []
    assert ran.errors == []


def test_every_picture_is_drawn_and_has_its_text(ran):
    drawn = [picture for picture in ran.pictures() if picture["alt"]]

    assert len(drawn) == len(PICTURES) and all(picture["drawn"] for picture in drawn)
    assert [picture["alt"].split("\n")[0].split()[0] for picture in drawn] == [
        "namespaces", "mounts", "processes", "network", "a", "control", "publish('18090:80')",
    ]  # fmt: skip


def test_letters_are_at_least_fourteen_pixels_high_on_the_page(ran):
    sizes = [16 * picture["width"] / picture["natural"] for picture in ran.pictures()]

    assert min(sizes) >= 14


def test_the_source_of_a_stage_is_shown_as_code_in_the_notebooks_own_colours(ran):
    code = ran.page.locator(".jp-OutputArea-output.jp-RenderedMarkdown pre code")

    assert any("def hostname(name: str" in text for text in code.all_text_contents())
    assert code.locator("span[class]").count() > 0


def test_what_stands_on_both_sides_is_the_cells_output(ran):
    assert any("seen" in text and "│" in text for text in ran.page.locator(".jp-OutputArea-output pre").all_text_contents())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pictures_follow_the_theme(ran, scheme, folder):
    ran.turn(scheme)
    shots = Path(os.environ.get("SCRATCHLAB_SCREENSHOTS", folder))
    for number, name in enumerate(CELLS):
        ran.photograph(shots / f"{number:02}-{name}-{scheme}.png", ".jp-Notebook .jp-Cell", number)

    corner = ran.page.locator(".jp-OutputArea-output img[alt]").first.evaluate(
        """async image => {
            await image.decode();
            const canvas = document.createElement('canvas');
            canvas.width = canvas.height = 20;
            canvas.getContext('2d').drawImage(image, 0, 0);
            return Array.from(canvas.getContext('2d').getImageData(12, 12, 1, 1).data.slice(0, 3));
        }"""
    )
    assert (sum(corner) > 600) == (scheme == "light")


def test_the_slider_moves_the_limit_of_the_load_that_runs(ran):
    slider = ran.page.locator(".widget-slider .noUi-handle")
    slider.scroll_into_view_if_needed()
    slider.focus()
    for _ in range(4):
        slider.press("ArrowRight")

    ran.page.locator(".widget-readout", has_text="40").wait_for()
    ran.page.locator(".widget-html", has_text="runs. cpu: at most 40 % of one CPU").wait_for()
    assert ran.errors == []


def test_the_stop_button_ends_the_load(ran):
    stop = ran.page.locator("button.widget-button", has_text="stop")
    stop.click()

    words = ran.page.locator(".widget-html", has_text="ended. cpu: at most 40 % of one CPU")
    words.wait_for()
    assert "throttled: had to wait" in words.inner_text()
    assert stop.is_disabled()
    assert ran.errors == []


def test_a_stored_notebook_that_nobody_trusts_shows_the_same_pictures(ran, lab, folder):
    address, browser = lab
    ran.save()
    # Another path and other contents: JupyterLab has signed only what it has run itself.
    stored = (folder / "seen.ipynb").read_text().replace("box = Sandbox('seen')", "box = Sandbox('copied')")
    (folder / "copied.ipynb").write_text(stored)

    page = Page(browser, address.format("copied.ipynb"))
    page.page.locator(".jp-OutputArea-output img[alt]").nth(len(PICTURES)).wait_for()

    assert page.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.model.cells.get(4).trusted") is False
    # The chart too: without its widget there is the picture that was stored.
    assert [picture["drawn"] for picture in page.pictures()] == [True] * (len(PICTURES) + 1)
    assert page.trouble() == []
