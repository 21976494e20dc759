"""Run a lesson with one stage broken, up to the first cell that says something else than what is stored.

Without that stage, what a lesson does to a sandbox it might do to the host. So all of it happens on a machine of its own:
names, network and mounts of its own, files that can be changed in /tmp and /var/tmp only, and an empty /run, so that its keepers
know the journals of nobody else: what those list is elsewhere.
"""

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient

from scratchlab import journal, linux, stages
from scratchlab.lessons import outline
from scratchlab.lessons.notebook import Cell, source, stored
from scratchlab.lessons.predict import UNATTENDED
from tests.conftest import in_child

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS = 60  # for one cell


def cells(path: Path, kind: str) -> list[Cell]:
    """The cells of a notebook that are code, or markdown."""
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def code(path: Path) -> str:
    """All code of a notebook."""
    return "\n".join(source(cell) for cell in cells(path, "code"))


def lessons_of(stage: str) -> list[Path]:
    """The lessons that teach a stage: they show and apply it. Else the first that applies it, or those that show it."""
    applied = [path for path in NOTEBOOKS if _applies(path, stage)]
    shown = [path for path in NOTEBOOKS if f"show(stages.{stage})" in code(path)]
    return [path for path in shown if path in applied] or applied[:1] or shown


def stages_of(path: Path) -> list[str]:
    """The stages that a lesson teaches; or where it teaches none, the first that it applies."""
    applied = [stage for stage in stages.STAGES if _applies(path, stage)]
    return [stage for stage in stages.STAGES if path in lessons_of(stage)] or applied[:1]


def _applies(path: Path, stage: str) -> bool:
    """Whether a lesson applies a stage in a cell, or has it done at a point that one can go to."""
    at_points = {step.name for point in outline(path.name[:2]).points.values() for step in point}
    return stage in at_points or bool(re.search(rf"(?<!show\()(?<!about\()\bstages\.{stage}\b", code(path)))


# -- on a machine of its own -------------------------------------------------------------------------------------------


def first_difference(path: Path, breaks: str = "") -> str:
    """The first code cell of a notebook that says something else than what is stored, or ""."""

    def there() -> str:
        _leave_the_machine()
        with TemporaryDirectory() as data:
            os.environ.update(_environment(data, breaks))
            difference = _differing(path)
        with suppress(ChildProcessError):  # until the keeper has taken everything back: its notebook is gone
            while True:
                os.wait()
        journal.clean()  # and what it could not: a lesson without one of its stages may end its keeper
        assert not journal.journals()
        return difference

    return in_child(there)


def _leave_the_machine() -> None:
    """What the lesson starts stays ours, until it has ended; what it does to the host, it does to this."""
    linux.prctl(linux.Prctl.SET_CHILD_SUBREAPER, 1)
    for stage in (stages.unshare_uts, stages.unshare_ipc, stages.unshare_net, stages.loopback, stages.unshare_mount):
        stage()
    stages.private_mounts()
    for place in ("/tmp", "/var/tmp"):  # mounts of their own: they do not become read-only with the root
        stages.bind(place, place)
    stages.tmpfs("/run")
    stages.readonly("/")


def _differing(path: Path) -> str:
    """Execute cell by cell. An error is an output like any other: it is stored, or it is a difference."""
    notebook = nbformat.reads(path.read_text(), as_version=4)
    with _kernel(notebook) as client:
        for number, cell in enumerate(notebook.cells):
            before = _alone(cell)
            if cell.cell_type == "code" and _alone(client.execute_cell(cell, number)) != before:
                return str(cell.source)
    return ""


@contextmanager
def _kernel(notebook: Any) -> Iterator[NotebookClient]:
    client = NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", allow_errors=True)
    client.resources = {"metadata": {"path": str(ROOT / "notebooks")}}
    with client.setup_kernel():
        yield client


def _environment(data: str, breaks: str) -> dict[str, str]:
    """The switch; nobody there to guess; files of nobody else; and this checkout."""
    switch = str(Path(__file__).parent / "broken_stage")
    return {
        "SCRATCHLAB_TEST_BREAKS": breaks, "PYTHONPATH": os.pathsep.join([switch, str(ROOT), *filter(None, sys.path)]),
        UNATTENDED: "1", "XDG_DATA_HOME": data, "IPYTHONDIR": f"{data}/ipython",
    }  # fmt: skip


def _alone(cell: Any) -> str:
    """A cell in the stored form, without its number, which depends on where it stands."""
    return stored({"cells": [json.loads(json.dumps(cell)) | {"execution_count": None}]})
