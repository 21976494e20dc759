"""The cell magics, in a real Jupyter kernel: what they print is what the cell keeps."""

import os

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import needs_root

pytestmark = needs_root

CELLS = {
    "load": "%load_ext scratchlab\nfrom scratchlab import Sandbox, stages, views\nbox = Sandbox('magic')",
    "apply": "box.apply(stages.unshare_uts)\nbox.apply(stages.hostname, 'web')",
    "inside": "%%inside box\nhostname\necho trouble >&2",
    "failing": "%%inside box\nexit 3",
    "killed": "%%inside box\nkill -9 $$",
    "outside": "%%outside\nhostname",
    "both": "%%both box\nhostname\necho same",
    "picture": "views.namespaces(box)",
    "no such": "%%inside bx\nhostname",
    "no name": "%%both\nhostname",
    "a name too many": "%%outside box\nhostname",
    "ended": "box.close()",
    "closed": "%%inside box\nhostname",
}


@pytest.fixture(scope="module")
def outputs():
    """What each cell left in the notebook."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS.values()])
    NotebookClient(notebook, timeout=60, kernel_name="python3", allow_errors=True).execute()
    return {name: cell.outputs for name, cell in zip(CELLS, notebook.cells, strict=True)}


def streams(outputs):
    return {output["name"]: output["text"] for output in outputs if output["output_type"] == "stream"}


def test_shell_lines_run_inside_and_both_streams_are_kept(outputs):
    assert streams(outputs["inside"]) == {"stdout": "web\n", "stderr": "trouble\n"}


def test_shell_lines_run_on_the_host(outputs):
    assert streams(outputs["outside"]) == {"stdout": f"{os.uname().nodename}\n"}


def test_a_command_that_fails_says_how(outputs):
    assert streams(outputs["failing"]) == {"stdout": "[status 3]\n"}
    assert streams(outputs["killed"]) == {"stdout": "[killed by SIGKILL]\n"}


def test_both_sides_stand_beside_each_other(outputs):
    host = os.uname().nodename

    rows = [line.split("│") for line in streams(outputs["both"])["stdout"].splitlines() if "│" in line]
    assert [[word.strip() for word in row] for row in rows] == [["magic", "host"], ["web", host], ["same", "same"]]


def test_a_picture_is_text_and_image(outputs):
    (output,) = outputs["picture"]

    assert output["data"]["text/html"].startswith('<img src="data:image/svg+xml;base64,')
    assert "uts namespace      host   magic" in output["data"]["text/plain"]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("no such", "'bx' is not a sandbox\n  hint: say %%inside box"),
        ("no name", "%%both wants to know which sandbox\n  hint: say %%both box"),
        ("a name too many", "%%outside takes no sandbox: 'box'"),
        ("closed", "this sandbox is closed"),
    ],
)
def test_a_mistake_is_one_message_and_no_traceback(outputs, cell, words):
    assert words in streams(outputs[cell])["stderr"]
    assert "Traceback" not in streams(outputs[cell])["stderr"]
