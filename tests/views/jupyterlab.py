"""JupyterLab in a headless browser: a server of its own with nothing of the user's, and one page."""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat

from tests.conftest import eventually

CHROMIUM = shutil.which("chromium")
_PORT = 8888

# No questions about news and updates, of which a page would otherwise be full.
_SETTINGS = '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}'

_RUN_ALL = """async () => {
    const app = window.jupyterapp;
    await app.restored;
    const panel = app.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;   // before this, the command does nothing, silently
    await app.commands.execute('notebook:run-all-cells');
}"""


@contextmanager
def served(directory: Path) -> Iterator[tuple[str, Path]]:
    """JupyterLab with `directory` as its root; gives the address of a notebook, to be filled in, and a browser that sees it.

    The browser has a network of its own: where links come and go, as they do for sandboxes, Chromium breaks off what it loads
    (ERR_NETWORK_CHANGED). So the server listens at a unix socket, which is a file, and socat leads there.
    """
    with _server(directory) as (server, token), _network(server, _PORT) as network:
        address = f"http://127.0.0.1:{_PORT}/lab/tree/{{}}?token={token}&reset"
        yield address, _chromium_in(network, directory / ".home")


@contextmanager
def browser_for(port: int, home: Path) -> Iterator[Path]:
    """The same for a server at a port of this machine: a browser for which it is at that port, too."""
    server = home / "server"
    way = subprocess.Popen(["socat", f"UNIX-LISTEN:{server},fork", f"TCP:localhost:{port}"])
    try:
        assert eventually(server.exists)
        with _network(server, port) as network:
            yield _chromium_in(network, home)
    finally:
        way.terminate()
        way.wait()


def _chromium_in(network: int, home: Path) -> Path:
    program = home / "chromium"
    program.write_text(f'#!/bin/sh\nexec nsenter --net=/proc/{network}/ns/net -- {CHROMIUM} "$@"\n')
    program.chmod(0o755)
    return program


@contextmanager
def _server(directory: Path) -> Iterator[tuple[Path, str]]:
    home, token = directory / ".home", secrets.token_hex(8)
    server, settings = home / "server", home / "settings"
    settings.mkdir(parents=True)
    (settings / "overrides.json").write_text(_SETTINGS)
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "HOME")
    process = subprocess.Popen(
        [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.sock={server}",
            f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={directory}", "--expose-app-in-browser",
            f"--LabApp.app_settings_dir={settings}",
        ],
        env={**os.environ, **dict.fromkeys(places, str(home)), "PYTHONPATH": os.getcwd()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert eventually(server.exists, patience=60)
        yield server, token
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _network(server: Path, port: int) -> Iterator[int]:
    """A network with a loopback link and nothing else, where a port leads to the server; gives the pid of what holds it."""
    script = f"ip link set lo up && exec socat TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr UNIX-CONNECT:{server}"
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", script])
    listening = Path(f"/proc/{process.pid}/net/tcp")
    try:
        assert eventually(lambda: f":{port:04X} 00000000:0000 0A" in listening.read_text())
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def write_notebook(path: Path, cells: dict[str, str]) -> None:
    """A notebook that was never run."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells.values()])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)


class Page:
    """One page of the browser, with a notebook in it."""

    def __init__(self, browser: Any, address: str, waits_for: str = ".jp-Notebook .jp-Cell") -> None:
        self.errors: list[str] = []
        self.page = browser.new_page(viewport={"width": 1280, "height": 900})
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.goto(address)
        self.page.wait_for_selector(waits_for)

    def run_all(self) -> None:
        """Run every cell, and wait until the last has run."""
        self.page.evaluate(_RUN_ALL)

    def trouble(self) -> list[str]:
        """The errors that cells show."""
        kinds = ("application/vnd.jupyter.error", "application/vnd.jupyter.stderr")
        return [text for kind in kinds for text in self.page.locator(f'[data-mime-type="{kind}"]').all_text_contents()]

    def pictures(self) -> list[dict[str, Any]]:
        """Each image that the cells show: whether it was drawn, its alternative, and how wide it is."""
        script = """images => images.map(i => ({drawn: i.complete && i.naturalWidth > 0, alt: i.alt,
            natural: i.naturalWidth, width: i.getBoundingClientRect().width}))"""
        found: list[dict[str, Any]] = self.page.locator(".jp-OutputArea-output img").evaluate_all(script)
        return found

    def save(self) -> None:
        """Write the notebook to its file."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")

    def turn(self, scheme: str) -> None:
        """Choose JupyterLab's light or dark theme; the reader's system stays light."""
        theme = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}[scheme]
        self.page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
        self.page.wait_for_selector(f'body[data-jp-theme-name="{theme}"]', state="attached")

    def photograph(self, to: Path, selector: str, number: int) -> None:
        """A screenshot of one cell."""
        cell = self.page.locator(selector).nth(number)
        cell.scroll_into_view_if_needed()
        cell.screenshot(path=to)
