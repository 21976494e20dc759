"""The program that Jupyter starts as the kernel `scratchlab`: it starts a machine, and stands between it and Jupyter.

    python -m scratchlab.vm.kernel [--memory MB] [--network user] CONNECTION_FILE

For Jupyter it is an ordinary kernel, so it works wherever kernels do. A restart is another one of us, with another machine.
When a machine cannot start, or ends by itself, we stay, and answer each cell with the reason (standin.py).
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from scratchlab.errors import GoneError, HostError, ScratchlabError
from scratchlab.vm import cache, notebook
from scratchlab.vm.filedesk import FileDesk
from scratchlab.vm.guest import frames
from scratchlab.vm.machine import Machine
from scratchlab.vm.messages import Request
from scratchlab.vm.parent import lives_as_long_as_jupyter
from scratchlab.vm.ports import Ports, Shutdown
from scratchlab.vm.relay import Backend, Relay, Starting
from scratchlab.vm.standin import stand_in

_AGAIN = "restart the kernel: a clean machine takes a second"
_LARGER = "restart the kernel for a clean machine; `scratchlab kernel install --memory 1024` gives it more"
_LONGEST_LOG = 1_000_000
_PASSED_ON = ("SCRATCHLAB_", "JPY_SESSION_NAME")  # environment variables, by how their names begin


class Launcher:
    """One kernel's life."""

    def __init__(self, options: argparse.Namespace, book: notebook.Notebook) -> None:
        self._options, self._book = options, book
        self._machine: Machine | None = None
        self._problem: ScratchlabError | None = None
        self._backend: Backend | None = None
        self._doing = ""
        self._thread = threading.Thread(target=self._start, daemon=True)

    def serve(self, ports: Ports) -> None:
        """Be a kernel, until Jupyter ends it by raising Shutdown; or the kernel ends in order."""
        self._key = ports.key
        self._thread.start()
        starting = Starting(ports)
        while self._thread.is_alive():
            starting.wait(self._doing)
        waiting, problem = starting.waiting, self._problem
        if self._backend:
            problem, waiting = Relay(ports, self._backend).run(waiting)
        assert problem
        self._end_with(ports, problem, waiting)

    def _end_with(self, ports: Ports, problem: ScratchlabError, waiting: list[Request]) -> None:
        log(str(problem), self._machine.console()[-2000:] if self._machine else "")
        if self._machine:
            self._machine.close()
        stand_in(ports, problem, waiting)

    def close(self) -> None:
        """Leave nothing."""
        self._thread.join(5)  # a machine that is just starting
        if self._machine:
            self._machine.close()

    # -- in a thread of its own, for Jupyter wants answers meanwhile ---------------------------------------------------

    def _start(self) -> None:
        try:
            self._machine = Machine.start(
                about=self._book.name or f"a notebook in {self._book.folder.name}",
                notebook=self._book.name,
                memory=self._options.memory,
                network=self._options.network == "user",
                progress=self._progress,
                say=self._say,
            )
            self._backend = self._connect(self._machine)
        except ScratchlabError as error:
            self._problem = error
        # A bug of ours is told to the learner as well, or the cell would wait for ever.
        except BaseException as error:
            self._problem = HostError(f"the machine did not start: {type(error).__name__}: {error}", "this is a bug: report it")
            raise

    def _connect(self, machine: Machine) -> Backend:
        forwarded = {name: machine.forward(port) for name, port in frames.KERNEL_PORTS.items()}
        desk = FileDesk(machine, self._book.folder)
        machine.start_kernel(self._key, environment(), notebook.PLACE)
        desk.push_what_is_beside()
        desk.push_progress()
        return Backend(forwarded, self._ended, desk.serve)

    def _ended(self) -> ScratchlabError | None:
        assert self._machine
        ending = self._machine.kernel_ended()
        if ending and self._machine.alive:
            time.sleep(0.3)  # a machine that powers off kills its kernel first: then the machine's end is the cause
        if not self._machine.alive:
            return GoneError(f"the machine has ended: {self._machine.cause()}", _AGAIN)
        return _how_the_kernel_ended(ending, self._options.memory) if ending else None

    def _progress(self, what: str, _done: int, _total: int) -> None:
        self._doing = f"{what}; this happens once"

    def _say(self, sentence: str) -> None:
        self._doing = sentence
        log(sentence)


def _how_the_kernel_ended(ending: dict[str, Any], memory: int) -> ScratchlabError:
    if ending.get("exit") == 0:
        raise Shutdown  # exit(), or whoever spoke to it otherwise
    if ending.get("memory"):
        return GoneError(f"the Jupyter kernel in the machine was killed, because its {memory} MB of memory ran out", _LARGER)
    how = f"was killed by {ending['name']}" if "name" in ending else f"ended with status {ending.get('exit')}"
    return GoneError(f"the Jupyter kernel in the machine {how}", _AGAIN)


def environment() -> dict[str, str]:
    """What the kernel in the machine gets of our environment."""
    return {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}


def log(message: str, more: str = "") -> None:
    """Say it on standard error, and in a file: not every front end shows the first."""
    print(f"scratchlab: {message}", file=sys.stderr, flush=True)
    with suppress(OSError, HostError):
        path = cache.cache() / "kernel.log"
        if path.exists() and path.stat().st_size > _LONGEST_LOG:
            path.replace(path.with_suffix(".old"))
        with path.open("a") as file:
            file.write(f"{time.strftime('%F %T')} [{os.getpid()}] {message}\n{more}")


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scratchlab.vm.kernel")
    parser.add_argument("--memory", type=int, default=512)
    parser.add_argument("--network", choices=["none", "user"], default="none")
    parser.add_argument("connection_file", type=Path)
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """Be the kernel."""
    lives = lives_as_long_as_jupyter()
    options = _options(words)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is asked by message
    launcher = Launcher(options, notebook.Notebook.of(os.environ, Path.cwd()))
    try:
        ports = Ports(json.loads(options.connection_file.read_text()), lives)
    except (ScratchlabError, OSError, ValueError, KeyError) as error:
        log(str(error))
        return 1
    try:
        signal.signal(signal.SIGTERM, _end)
        launcher.serve(ports)
    except Shutdown:
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # we are about to
        ports.close()
        launcher.close()
    return 0


def _end(*_: Any) -> None:
    raise Shutdown


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
