"""`scratchlab lab` as it runs, and what its address gives."""

import json
import os
import signal
import subprocess
from ast import literal_eval
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

from jupyter_client.blocking import BlockingKernelClient

from tests.command_line import ENVIRONMENT, SCRATCHLAB
from tests.conftest import eventually


class Served(NamedTuple):
    """A running `scratchlab lab`."""

    process: subprocess.Popen[str]
    address: str
    runtime: Path  # where Jupyter keeps the connection files of kernels

    def ask(self, path: str, data: object = None, token: bool = True) -> Any:
        """What Jupyter's interface answers, as data."""
        parts = urlsplit(self.address)
        headers = {"Authorization": f"token {parse_qs(parts.query)['token'][0]}"} if token else {}
        body = None if data is None else json.dumps(data).encode()
        with urlopen(Request(f"http://{parts.netloc}/api/{path}", body, headers), timeout=60) as answer:
            return json.load(answer)

    def open(self, name: str) -> str:
        """Open a lesson, as a front end does: with the kernel that the notebook asks for. Gives the kernel's number."""
        asked = self.ask(f"contents/{name}")["content"]["metadata"]["kernelspec"]["name"]
        session = {"path": name, "name": name, "type": "notebook", "kernel": {"name": asked}}
        return str(self.ask("sessions", session)["kernel"]["id"])

    def value(self, kernel: str, expression: str) -> Any:
        """What an expression is in that kernel."""
        client = BlockingKernelClient(connection_file=str(self.runtime / f"kernel-{kernel}.json"))
        client.load_connection_file()
        client.start_channels()
        try:
            answer = client.execute("import os", user_expressions={"it": expression}, reply=True, timeout=60)
        finally:
            client.stop_channels()
        return literal_eval(answer["content"]["user_expressions"]["it"]["data"]["text/plain"])

    def end(self, number: int = signal.SIGINT) -> str:
        """End it with a signal; gives what it said on standard error."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=60)[1]


@contextmanager
def lab(folder: Path, *words: object, **variables: str) -> Iterator[Served]:
    """`scratchlab lab` with a folder, from its address on."""
    runtime = folder.parent / "runtime"
    nobodys = {"JUPYTER_CONFIG_DIR": str(folder.parent / "config"), "JUPYTER_RUNTIME_DIR": str(runtime)}
    without_display = {name: value for name, value in ENVIRONMENT.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    process = subprocess.Popen(
        [*SCRATCHLAB, "lab", "--folder", str(folder), *map(str, words)], env={**without_display, **nobodys, **variables},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout and process.stderr
    try:
        address = process.stdout.readline().strip()
        assert address, process.stderr.read()
        yield Served(process, address, runtime)
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


def gone(pid: int) -> bool:
    """Whether a process has ended, soon."""
    return eventually(lambda: not os.path.exists(f"/proc/{pid}"))
