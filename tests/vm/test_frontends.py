"""The kernel `scratchlab` in front ends that people use: nbclient, nbval, and `jupyter console` on a terminal."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pexpect
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from scratchlab.stages import STAGES
from tests.command_line import ROOT

TRIAL = Path(__file__).parent / "notebooks" / "trial.ipynb"


@pytest.fixture(autouse=True)
def environment(specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Jupyter finds our kernels."""
    monkeypatch.setenv("JUPYTER_PATH", str(specs.parent))


def notebook_of(*cells: str) -> nbformat.NotebookNode:
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    made.metadata.kernelspec = {"name": "scratchlab", "display_name": "Scratchlab (root VM)", "language": "python"}
    return made


def test_nbclient_executes_a_notebook(built: None, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("beside")
    done = NotebookClient(
        notebook_of("open('data.txt').read()", "import os; os.getuid()"), resources={"metadata": {"path": str(tmp_path)}}
    ).execute()

    assert [cell.outputs[0].data["text/plain"] for cell in done.cells] == ["'beside'", "0"]


def test_nbclient_is_told_why_a_machine_ended(built: None, tmp_path: Path) -> None:
    panics = notebook_of("open('/proc/sysrq-trigger', 'w').write('c')")
    with pytest.raises(CellExecutionError, match="its kernel panicked: sysrq triggered crash"):
        NotebookClient(panics, resources={"metadata": {"path": str(tmp_path)}}).execute()

    assert panics.cells[0].outputs[0].ename == "GoneError"


def nbval(notebook: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    options = [
        "-p",
        "no:cacheprovider",
        "-q",
        "--nbval-kernel-name",
        "scratchlab",
        "--rootdir",
        str(notebook.parent),
        "-c",
        os.devnull,
    ]
    command = [sys.executable, "-m", "pytest", "--nbval", *options, *words, str(notebook)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_nbval_sees_when_an_output_differs(built: None, tmp_path: Path) -> None:
    wrong = notebook_of("6 * 7", "print('right')")
    wrong.cells[0].execution_count = wrong.cells[1].execution_count = 1
    wrong.cells[0].outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "41"}, execution_count=1)]
    wrong.cells[1].outputs = [nbformat.v4.new_output("stream", text="right\n")]
    nbformat.write(wrong, tmp_path / "wrong.ipynb")
    done = nbval(tmp_path / "wrong.ipynb")

    assert "1 failed, 1 passed" in done.stdout, done.stdout


def test_a_notebook_that_uses_each_stage_says_in_a_machine_what_it_said_before(built: None) -> None:
    done = nbval(TRIAL)

    assert done.returncode == 0, done.stdout[-8000:]
    assert f"{len(code_cells())} passed" in done.stdout


def code_cells() -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(TRIAL, as_version=4).cells if cell.cell_type == "code"]


def test_that_notebook_forgets_no_stage_and_has_its_outputs() -> None:
    text = "\n".join(cell.source for cell in code_cells())

    assert [name for name in STAGES if f"stages.{name}" not in text and f"{name}(" not in text] == []
    assert [cell.source for cell in code_cells() if not cell.outputs or not cell.execution_count] == []


def test_jupyter_console_talks_to_it(built: None, tmp_path: Path) -> None:
    command = ["-m", "jupyter_console", "--kernel", "scratchlab", "--simple-prompt"]
    child = pexpect.spawn(
        sys.executable, command, cwd=str(tmp_path), timeout=60, encoding="utf-8", env={**os.environ, "TERM": "dumb"}
    )
    try:
        child.expect(r"In \[1\]")
        child.sendline("import os; print('uid', os.getuid(), os.uname().nodename)")
        child.expect("uid 0 lab")
        child.expect(r"In \[2\]")
        child.sendline("open('/proc/sysrq-trigger', 'w').write('c')")
        child.expect("its kernel panicked: sysrq triggered crash")
        child.sendeof()
        child.sendline("y")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
