"""The how-tos say what happens: what is typed in them is typed here, and the answers are compared. `…` is any text.

`console` blocks are run by a shell, `pycon` blocks by Python, each page's in one folder. What stands in `sh` blocks costs
minutes, or changes the machine: of that, every word must be one that our command line takes.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scratchlab import cli
from tests.command_line import ROOT
from tests.conftest import needs, needs_root
from tests.ordinary import PYTHON, Ordinary

PAGES = sorted((ROOT / "docs" / "howto").glob("*.md"))
FRONT = ROOT / "docs" / "index.md"
ROOTLESS = ROOT / "docs" / "howto" / "rootless.md"

Shell = Callable[[str], "subprocess.CompletedProcess[str]"]


def each(*pages: Path) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", pages, ids=[page.stem for page in pages])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def typed(page: Path) -> Iterator[tuple[str, str]]:
    """Each command of the console blocks, with the answer that the page has."""
    for block in blocks(page, "console"):
        for piece in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, answer = piece.partition("\n")
            yield command, answer


def same(said: str, answer: str) -> bool:
    pattern = ".*".join(map(re.escape, answer.rstrip("\n").split("…")))
    return re.fullmatch(pattern, said.rstrip("\n"), re.DOTALL) is not None


def follow(page: Path, shell: Shell) -> None:
    """Type all commands of a page, and compare."""
    for command, answer in typed(page):
        done = shell(command)

        assert same(done.stdout, answer), f"$ {command}\n{done.stdout}"
        assert (done.returncode == 0) != ("scratchlab: " in answer or ": Read-only" in answer), f"$ {command}: {done.returncode}"


def run(words: list[str], folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """A command with what a shell in our environment has, and with nothing of this user's own."""
    paths = [os.path.dirname(sys.executable), os.environ["PATH"], "/usr/sbin", "/sbin"]
    environment = {"PATH": os.pathsep.join(paths), "HOME": str(folder), "PYTHONPATH": str(ROOT), "TERM": "dumb", **variables}
    return subprocess.run(
        words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout, as far as the pages look into it."""
    for name in ("tools", "notebooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@needs_root
@each(*[page for page in PAGES if page != ROOTLESS])
def test_what_a_page_has_typed_in_a_shell_answers_as_it_says(page: Path, folder: Path) -> None:
    follow(page, lambda command: run(["sh", "-c", command], folder))


@needs_root
@needs(shutil.which("newuidmap"), "needs newuidmap: ./lab test installs it")
def test_an_ordinary_user_gets_the_answers_of_the_page_without_root(ann: Ordinary) -> None:
    program = ann.home / "bin" / "scratchlab"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {ann.home}/python/{PYTHON} -m scratchlab.cli "$@"\n')
    program.chmod(0o755)
    user = ann._replace(path=f"{program.parent}:{ann.path}")
    become = "import os, sys; os.execvp('sh', ['sh', '-c', sys.argv[1]])"

    try:
        follow(ROOTLESS, lambda command: run(user.argv("-c", become, command), ROOT))
    finally:
        shutil.rmtree(ann.home / "tiny", ignore_errors=True)


@needs_root
@each(*[page for page in [*PAGES, FRONT] if blocks(page, "pycon")])
def test_what_a_page_has_typed_in_python_answers_as_it_says(page: Path, folder: Path) -> None:
    session = folder / "session.txt"
    session.write_text("\n\n".join(blocks(page, "pycon")).replace("hostname   vm → web", "hostname   ... → web"))

    # On a host whose links and mounts are its own: a step also shows what others do to the machine at that moment.
    apart = ["unshare", "--net", "--mount", sys.executable]
    done = run([*apart, "-m", "doctest", "-o", "ELLIPSIS", str(session)], folder, SCRATCHLAB_UNATTENDED="1")

    assert done.returncode == 0, done.stdout


def test_the_readme_begins_with_the_same_session_as_the_front_page() -> None:
    assert blocks(ROOT / "README.md", "pycon")[0] == blocks(FRONT, "pycon")[0]


@each(*PAGES)
def test_the_commands_that_are_only_shown_are_taken_by_the_command_line(page: Path) -> None:
    for line in "".join(blocks(page, "sh")).splitlines():
        words = [word for word in shlex.split(line, comments=True) if word != "sudo"]
        if words[0] == "scratchlab":
            cli.parsed(words[1:])
        else:
            assert words[0] == ".venv/bin/python" or shutil.which(words[0], path=f"{os.environ['PATH']}:/usr/sbin"), line


def test_a_wrong_answer_in_a_page_is_found() -> None:
    assert same("/tmp/x/tiny: 1 program, 8 files\n", "…/tiny: 1 program, … files\n")
    assert not same("/tmp/x/tiny: 2 programs, 8 files\n", "…/tiny: 1 program, … files\n")
    assert not same("1\n2\n", "1\n")
