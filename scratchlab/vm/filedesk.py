"""Files between a notebook's folder and its machine: at the start, and when a cell says %push or %fetch.

The learner's progress (progress.py) goes in at the start, too, and what lessons add to it comes out after each cell.

The guest asks with a message (guest/files.py), and the answer goes into a file there, which the cell waits for. What a guest
asks for stays in the notebook's folder, and out of what is hidden in it: a cell of a stranger's notebook must not reach
.git/hooks, by no name, no link, and no tar of its own (link.py).
"""

import io
import json
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from scratchlab import progress
from scratchlab.errors import InputError, ScratchlabError
from scratchlab.vm import notebook
from scratchlab.vm.link import Guest
from scratchlab.vm.messages import Frames, part

_PROGRESS = ".local/share/scratchlab/progress.json"  # in the machine, below /root


class FileDesk:
    """Brings files into one machine, and out of it."""

    def __init__(self, guest: Guest, folder: Path) -> None:
        self._guest, self._folder = guest, folder
        self._left_out: list[Path] = []
        self._progress: progress.Record = {}  # as the machine has it
        self._one = threading.Lock()

    def push_what_is_beside(self) -> None:
        """Give the machine a copy of the files beside the notebook."""
        taken, self._left_out = notebook.beside(self._folder)
        self._send(taken)

    def _send(self, files: list[Path]) -> None:
        if files:
            self._guest.unpack(io.BytesIO(notebook.as_tar(self._folder, files)), notebook.PLACE)

    def push_progress(self) -> None:
        """Give the machine a copy of what the learner has done so far."""
        self._progress = progress.read()
        if self._progress:
            self._guest.unpack(io.BytesIO(notebook.one_file(_PROGRESS, json.dumps(self._progress).encode())), notebook.PLACE)

    def serve(self, frames: Frames) -> None:
        """Do what a cell asks for, while other messages go on."""
        threading.Thread(target=self._serve, args=[part(frames, 3)], daemon=True).start()

    def _serve(self, wanted: dict[str, Any]) -> None:
        if wanted.get("do") == "progress":
            self._take_over(wanted.get("record"))
            return
        answer: dict[str, Any] = {}
        try:
            act = {"push": self._push, "fetch": self._fetch}[wanted["do"]]
            answer = {"done": act([str(name) for name in wanted["names"]])}
        except ScratchlabError as error:
            answer = {"message": error.message, "hint": error.hint}
        except (OSError, KeyError, TypeError) as error:
            answer = {"message": f"could not do that: {error}", "hint": ""}
        self._guest.run(["tee", "--", str(wanted.get("answer"))], input=json.dumps(answer))

    def _take_over(self, record: Any) -> None:
        if isinstance(record, dict):
            with self._one, suppress(ScratchlabError):  # a pity; the lesson itself has said nothing wrong
                progress.take_over(self._progress, record)
                self._progress = record

    def _push(self, names: list[str]) -> list[str]:
        """Copy these files of the folder, or if none is named, what is there now and fits. Gives what was copied."""
        if not names:
            self.push_what_is_beside()
            return [f"all but {path.relative_to(self._folder)}" for path in self._left_out] or ["all"]
        paths = [self._folder / allowed(name) for name in names]
        if missing := [name for name, path in zip(names, paths, strict=True) if not path.exists()]:
            raise InputError(f"there is no {missing[0]} beside the notebook", "%push takes files of the notebook's folder")
        files = [file for path in paths for file in _files_of(path)]
        self._send(files)
        return [file.relative_to(self._folder).as_posix() for file in files]

    def _fetch(self, names: list[str]) -> list[str]:
        """Copy these files of the machine into the folder. Gives where they are now."""
        if not names:
            raise InputError("%fetch wants to know which files", "%fetch result.txt")
        for name in names:
            path = allowed(name)
            place = self._folder.resolve() / path.parent
            if place.resolve() != place:
                raise InputError(f"{path.parent} beside the notebook is a link, which is not followed", "fetch it elsewhere")
            place.mkdir(parents=True, exist_ok=True)
            self._guest.fetch(f"{notebook.PLACE}/{path}", place, plain=True)
        return names


def _files_of(path: Path) -> Iterable[Path]:
    return notebook.beside(path).taken if path.is_dir() else [path]


def allowed(name: str) -> PurePosixPath:
    """A path below the notebook's folder; nothing hidden, for a guest may be anybody's. Raises InputError."""
    path = PurePosixPath(name)
    if path.is_relative_to(notebook.PLACE):
        path = path.relative_to(notebook.PLACE)
    if path.is_absolute() or not path.parts or any(part[:1] == "." or "\\" in part or ":" in part for part in path.parts):
        raise InputError(
            f"{name!r} is not in the notebook's folder, or hidden",
            f"name a file below {notebook.PLACE}, such as result.txt; copy it there first",
        )
    return path
