"""Our kernels as a front end has them: started by jupyter_client, asked for cells, and looked at from outside."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jupyter_client import KernelManager
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager

from scratchlab.vm import registry


class Cell(NamedTuple):
    """What a front end shows for one cell."""

    text: str  # its output, and its result
    error: str  # how it failed, in one line; '' if it did not


class Kernel:
    """One kernel, and a front end that talks to it."""

    def __init__(self, specs: Path, name: str, folder: Path, **environment: str) -> None:
        self.folder = folder
        finder = KernelSpecManager(kernel_dirs=[str(specs)], ensure_native_kernel=False)
        self.manager = KernelManager(kernel_name=name, kernel_spec_manager=finder)
        self._options: dict[str, Any] = {"cwd": str(folder)}
        if environment:
            self._options["env"] = {**os.environ, **environment}
        self.client: BlockingKernelClient = None  # type: ignore[assignment]  # from start() on

    def start(self) -> None:
        self.manager.start_kernel(**self._options)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=100)

    def restart(self, now: bool = False) -> None:
        self.manager.restart_kernel(now=now)
        self.client.wait_for_ready(timeout=100)

    def stop(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel()

    @property
    def pid(self) -> int:
        """The process that Jupyter started."""
        return int(self.manager.provisioner.process.pid)  # type: ignore[union-attr]

    @property
    def qemu(self) -> int:
        """The machine behind it."""
        return next(entry.facts.get("qemu", 0) for entry in registry.entries() if entry.facts.get("owner") == self.pid)

    def cell(self, code: str, timeout: float = 60) -> Cell:
        """Run one cell to its end."""
        shown: list[str] = []
        reply = self.client.execute_interactive(code, timeout=timeout, output_hook=lambda message: shown.append(_text(message)))
        content = reply["content"]
        error = f"{content['ename']}: {content['evalue']}" if content["status"] == "error" else ""
        return Cell("".join(shown).strip(), error)

    def begin(self, code: str) -> str:
        """Start a cell, and come back when its first line has run. Gives the message's number."""
        # After an error the kernel refuses for a moment what was sent before anybody saw the error; so it is told not to.
        number = self.client.execute(f"print('begun', flush=True)\n{code}", stop_on_error=False)
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") == number and message["msg_type"] == "stream":
                return number

    def interrupt(self, number: str) -> dict[str, Any]:
        """Interrupt a cell. Gives its answer."""
        self.manager.interrupt_kernel()
        return self.end(number)

    def end(self, number: str, patience: float = 60) -> dict[str, Any]:
        """The answer to a cell that was begun. Raises Empty if there is none for so long."""
        while True:
            message: dict[str, Any] = self.client.get_shell_msg(timeout=patience)
            if message["parent_header"].get("msg_id") == number:
                return dict(message["content"])


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return str(content.get("text") or content.get("data", {}).get("text/plain", ""))


@contextmanager
def started(specs: Path, folder: Path, name: str = "scratchlab", **environment: str) -> Iterator[Kernel]:
    """A kernel while a test looks at it."""
    kernel = Kernel(specs, name, folder, **environment)
    kernel.start()
    try:
        yield kernel
    finally:
        kernel.stop()
