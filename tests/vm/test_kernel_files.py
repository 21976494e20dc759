"""The files beside a notebook are in its machine, and those that a cell makes come back when it asks."""

import io
import tarfile
from pathlib import Path, PurePosixPath

import pytest

from scratchlab import progress
from scratchlab.errors import InputError
from scratchlab.vm import notebook
from scratchlab.vm.filedesk import allowed
from scratchlab.vm.notebook import Notebook
from tests.conftest import eventually
from tests.vm.kernels import Kernel, started


def test_a_cell_opens_what_lies_beside_the_notebook(built: None, specs: Path, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("from the host")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/helper.py").write_text("WHERE = __file__")
    with started(specs, tmp_path) as kernel:
        assert kernel.cell("open('data.txt').read()").text == "'from the host'"
        assert kernel.cell("from more import helper; helper.WHERE").text == "'/root/more/helper.py'"

        kernel.cell("open('data.txt', 'w').write('changed')")
    assert (tmp_path / "data.txt").read_text() == "from the host"


def test_files_go_both_ways_when_a_cell_says_so(kernel: Kernel, tmp_path: Path) -> None:
    kernel.cell("import os; os.makedirs('out/deep'); open('out/deep/a', 'w').write('A'); open('b.txt', 'w').write('B')")
    assert kernel.cell("%fetch b.txt out").text == "b.txt\nout"
    assert (tmp_path / "b.txt").read_text() + (tmp_path / "out/deep/a").read_text() == "BA"

    (tmp_path / "b.txt").write_text("newer")
    assert kernel.cell("%push b.txt").text == "b.txt"
    assert kernel.cell("open('b.txt').read()").text == "'newer'"

    assert kernel.cell("%push").text == "all"
    assert kernel.cell("os.chdir('out')\n%fetch deep/a\nos.chdir('/root')").text == "out/deep/a"


def test_what_cannot_be_is_told(kernel: Kernel, tmp_path: Path) -> None:
    assert "no nothing.txt beside the notebook" in kernel.cell("%push nothing.txt").text
    assert "could not copy /root/nothing.txt from the machine" in kernel.cell("%fetch nothing.txt").text
    assert "which files" in kernel.cell("%fetch").text
    for path in ("/etc/passwd", "../up", ".hidden", "a/.git/hooks", "~/.bashrc"):
        assert "not in the notebook's folder" in kernel.cell(f"%fetch {path}").text
    assert kernel.cell("1").text == "1"
    assert list(tmp_path.iterdir()) == []


# A tar that sends what a stranger wants to have on the host, whatever it is asked for.
_ANOTHER_TAR = """
import os, subprocess
os.makedirs('/tmp/.git/hooks')
os.makedirs('/usr/local/bin', exist_ok=True)
open('/tmp/.git/hooks/post-checkout', 'w').write('#!/bin/sh')
open('/usr/local/bin/tar', 'w').write('#!/bin/sh\\nexec /usr/bin/tar -c -C /tmp .git')
os.chmod('/usr/local/bin/tar', 0o755)
"""


def test_a_machine_whose_tar_is_somebody_elses_writes_nothing_else(kernel: Kernel, tmp_path: Path) -> None:
    kernel.cell(_ANOTHER_TAR)

    assert "the machine sent '.git' instead of 'result.txt'" in kernel.cell("%fetch result.txt").text
    assert list(tmp_path.iterdir()) == []


def test_a_link_here_is_not_followed_and_one_there_is_what_it_leads_to(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "way").symlink_to(".git")
    kernel.cell("os.mkdir('way'); open('way/config', 'w').write('theirs'); os.symlink('way/config', 'alias')")

    assert "way beside the notebook is a link" in kernel.cell("%fetch way/config").text
    assert "behind a link" in kernel.cell("%fetch way").text
    assert list((tmp_path / ".git").iterdir()) == []
    assert kernel.cell("%fetch alias").text == "alias"
    assert not (tmp_path / "alias").is_symlink() and (tmp_path / "alias").read_text() == "theirs"


def test_what_a_lesson_writes_down_in_a_machine_outlives_it(
    built: None, specs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    progress.guessed("01", True)
    with started(specs, tmp_path) as kernel:
        kernel.cell("from scratchlab import progress; progress.solved('02', 'smallest-root'); progress.guessed('01', False)")
        told = {"01": {"exercises": [], "guesses": [1, 2]}, "02": {"exercises": ["smallest-root"], "guesses": [0, 0]}}
        assert eventually(progress.read, told) == told
        kernel.restart()
        assert kernel.cell("from scratchlab import progress; progress.read()['01']['guesses']").text == "[1, 2]"


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "..", "../x", "a/../../x", ".x", "a/.x", "", ".", "/root/../etc", "C:\\x", "a\\..\\x"]
)
def test_what_a_machine_may_not_name_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        allowed(name)


def test_a_file_may_be_named_from_either_side() -> None:
    assert allowed("a/b.txt") == allowed("/root/a/b.txt") == PurePosixPath("a/b.txt")


def test_large_and_hidden_and_made_files_stay_where_they_are(tmp_path: Path) -> None:
    for name in (
        ".git/config",
        "__pycache__/x.pyc",
        "venv/pyvenv.cfg",
        "venv/lib.py",
        "a/b/c/d/far.txt",
        ".env",
        "here.txt",
        "a/near.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(5_000_001)
    found = notebook.beside(tmp_path)

    assert [str(path.relative_to(tmp_path)) for path in found.taken] == ["here.txt", "a/near.txt"]
    assert found.left_out == [tmp_path / "large.bin"]


def test_of_too_much_the_nearest_is_taken(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("below/1", "2", "3", "4", "5"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(4_500_000)

    assert notebook.beside(tmp_path).left_out == [tmp_path / "below/1"]


def test_a_link_to_a_file_is_that_file_and_one_to_nowhere_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "to-passwd").symlink_to("/etc/hostname")
    (tmp_path / "nowhere").symlink_to("/nonexistent")
    (tmp_path / "loop").symlink_to(tmp_path)

    assert notebook.beside(tmp_path).taken == [tmp_path / "to-passwd"]


def test_a_file_that_goes_while_it_is_looked_at_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone.txt"
    (tmp_path / "here.txt").write_text("here")
    monkeypatch.setattr(notebook, "_below", lambda folder: iter([gone, tmp_path / "here.txt"]))

    assert notebook.beside(tmp_path).taken == [tmp_path / "here.txt"]
    with tarfile.open(fileobj=io.BytesIO(notebook.as_tar(tmp_path, [gone, tmp_path / "here.txt"]))) as archive:
        assert archive.getnames() == ["here.txt"]


def test_a_notebook_is_known_by_what_jupyter_says(tmp_path: Path) -> None:
    says = {"JPY_SESSION_NAME": f"{tmp_path}/07.ipynb"}

    assert Notebook.of(says, Path("/elsewhere")) == ("07.ipynb", tmp_path)
    assert Notebook.of({"JPY_SESSION_NAME": "sub/07.ipynb"}, tmp_path) == ("07.ipynb", tmp_path)
    assert Notebook.of({"JPY_SESSION_NAME": "console-1"}, tmp_path) == ("", tmp_path)
    assert Notebook.of({}, tmp_path) == ("", tmp_path)
