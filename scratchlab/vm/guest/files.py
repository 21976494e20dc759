"""`%push` and `%fetch` in a notebook: files go between its folder and this machine.

    %fetch result.txt        copy it into the folder of the notebook
    %push data.txt           copy it from there, once more
    %push                    all that is there

What a lesson writes down about the learner's progress, the host hears after each cell.

The request is a message that only the host's launcher sees; its answer comes through a named pipe.  fifo(7)
"""

import json
import os
import tempfile
from contextlib import suppress
from typing import Any

_PROGRESS = "/root/.local/share/scratchlab/progress.json"


def register(shell: Any) -> None:
    """Add both to an IPython shell."""
    for do in ("push", "fetch"):
        shell.register_magic_function(_magic(shell, do), "line", do)
    shell.events.register("post_run_cell", _Progress(shell.kernel).tell)


class _Progress:
    """The file in which lessons write down what was done, and which of its versions the host knows."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._known = 0

    def tell(self, _result: Any = None) -> None:
        """Send it if it has changed."""
        with suppress(OSError, ValueError):  # there is none
            changed = os.stat(_PROGRESS).st_mtime_ns
            if changed != self._known:
                with open(_PROGRESS) as file:
                    _send(self._kernel, {"do": "progress", "record": json.load(file)})
                self._known = changed


def _magic(shell: Any, do: str) -> Any:
    def magic(line: str) -> None:
        from IPython.core.error import UsageError

        said = _ask(shell.kernel, do, line.split())
        if "message" in said:
            raise UsageError(f"{said['message']}\n  hint: {said['hint']}" if said["hint"] else said["message"])
        print("\n".join(said["done"]))

    magic.__doc__ = __doc__
    return magic


def _ask(kernel: Any, do: str, names: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir="/run") as place:
        pipe = f"{place}/answer"
        os.mkfifo(pipe, 0o600)
        content = {"do": do, "names": [_absolute(name) for name in names], "answer": pipe}
        _send(kernel, content)
        with open(pipe) as file:
            answer: dict[str, Any] = json.load(file)
            return answer


def _send(kernel: Any, content: dict[str, Any]) -> None:
    kernel.session.send(kernel.iopub_socket, "scratchlab_files", content=content, ident=b"scratchlab.files")


def _absolute(name: str) -> str:
    """As seen from where the cell runs."""
    return name if name.startswith("/root/") else os.path.normpath(os.path.join(os.path.relpath(os.getcwd(), "/root"), name))
