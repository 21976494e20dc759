"""The wheel alone, away from the checkout: it carries the lessons, and one of them opens and runs."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from scratchlab.lessons import shelf
from tests.command_line import ROOT
from tests.conftest import needs_root
from tests.lab import served
from tests.vm.machines import NOT_SLOW, SLOW

pytestmark = needs_root


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by this environment's own tools, without a network."""
    place = tmp_path_factory.mktemp("wheel")
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(place), str(ROOT)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    return next(place.glob("*.whl"))


def installed(wheel: Path, place: Path, *words: str) -> Path:
    """A fresh environment with the wheel in it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin/python"), "install", "--quiet", *words, str(wheel)]
    subprocess.run(pip, check=True)
    return place


def opens_a_lesson(environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "SCRATCHLAB", [str(environment / "bin/scratchlab")])
    monkeypatch.delitem(served.ENVIRONMENT, "PYTHONPATH")
    monkeypatch.chdir(tmp_path)
    with served.lab(tmp_path / "mine", "--local", "--no-browser", PYTHONPATH="") as lab:
        assert {lesson.path.name for lesson in shelf.lessons()} <= {file["name"] for file in lab.ask("contents")["content"]}
        kernel = lab.open("00-this-machine.ipynb")
        where = lab.value(kernel, "__import__('scratchlab').__file__")
        assert Path(where).is_relative_to(environment)
        assert lab.value(kernel, "__import__('scratchlab').Lesson('00').outline.minutes") == 25


def test_a_lesson_opens_from_the_wheel_where_there_is_no_checkout(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = installed(wheel, tmp_path / "env", "--no-deps")
    # What it depends on is this environment's; the library is not: a .pth file in there, which names the checkout, is not read.
    site = next(environment.glob("lib/python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    opens_a_lesson(environment, tmp_path, monkeypatch)


@pytest.mark.skipif(not SLOW, reason=NOT_SLOW)
def test_what_the_wheel_says_that_it_needs_is_enough(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opens_a_lesson(installed(wheel, tmp_path / "env"), tmp_path, monkeypatch)


def test_a_guest_gets_no_notebooks(wheel: Path, tmp_path: Path) -> None:
    environment = installed(wheel, tmp_path / "env", "--no-deps")
    program = "from scratchlab.vm import library; print(*[path.suffix for path in library.files()])"
    said = subprocess.run(
        [str(environment / "bin/python"), "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    ).stdout.split()  # fmt: skip

    assert ".py" in said and ".sh" in said and ".ipynb" not in said
