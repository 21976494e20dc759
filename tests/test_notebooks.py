"""The lessons cannot drift: what is stored is what the kernel says, links lead somewhere, cells are short, nothing is left."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scratchlab.lessons import numbers, outline
from scratchlab.lessons.notebook import source, stored
from scratchlab.lessons.predict import UNATTENDED
from tests.conftest import needs_root

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
CELL_LINES, WORDS_PER_LINE = 8, (12, 25)


def each():
    return pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


def cells(path, kind):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def environment(tmp_path):
    """Nobody there to guess; a learner's progress of its own; and the library of this checkout."""
    paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return {
        **os.environ,
        UNATTENDED: "1",
        "XDG_DATA_HOME": str(tmp_path),
        "PYTHONPATH": paths,
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }


def run(words, tmp_path):
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=300
    )


@needs_root
@each()
def test_a_notebook_says_today_what_is_stored(path, tmp_path):
    nbval = [
        "--nbval",
        "--nbval-sanitize-with",
        "notebooks/sanitize.cfg",
        "--nbval-cell-timeout",
        "60",
        "--nbval-kernel-name",
        "python3",
    ]

    done = run(["-m", "pytest", "-q", "-p", "no:cacheprovider", *nbval, str(path)], tmp_path)

    assert done.returncode == 0, done.stdout


@needs_root
@each()
def test_a_second_run_stores_the_same_bytes(path, tmp_path):
    done = run(["tools/notebooks.py", "run", "--check", path.stem], tmp_path)

    assert (done.returncode, done.stdout) == (0, "all as stored\n"), done.stderr


@pytest.mark.parametrize("words", [["run", "--check", "7"], ["read", "99"]])
def test_the_workshop_says_so_where_a_name_fits_no_lesson(words, tmp_path):
    done = run(["tools/notebooks.py", *words], tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"notebooks: no lesson begins with {words[-1]}\n")


@needs_root
def test_a_lesson_goes_red_when_its_stage_is_broken(tmp_path):
    lesson = json.loads((FOLDER / "03-mounts.ipynb").read_text())
    harmless = '"/", None, linux.Mount(0))'
    broken = stored(lesson).replace('\\"/\\", None, linux.Mount.REC | linux.Mount.PRIVATE)', harmless.replace('"', '\\"'))
    (tmp_path / "broken.ipynb").write_text(broken)
    nbval = ["--nbval", "--nbval-cell-timeout", "60", "--nbval-kernel-name", "python3"]

    done = run(["-m", "pytest", "-q", "-p", "no:cacheprovider", *nbval, str(tmp_path / "broken.ipynb")], tmp_path)

    assert done.returncode == 1 and harmless in broken.replace('\\"', '"')


@each()
def test_the_stored_form_is_the_one_form(path):
    assert stored(json.loads(path.read_text())) == path.read_text()


@each()
def test_cells_are_short_and_end_in_a_value_and_the_prose_is_enough(path):
    code = [source(cell) for cell in cells(path, "code")]
    words = sum(len(source(cell).split()) for cell in cells(path, "markdown"))
    lines = sum(len([line for line in text.splitlines() if line.strip()]) for text in code)

    assert [text for text in code if len([line for line in text.splitlines() if line.strip()]) > CELL_LINES] == []
    assert [text for text in code if re.search(r"\binput\(|NBVAL_|^!", text, re.MULTILINE)] == []
    assert WORDS_PER_LINE[0] <= words / lines <= WORDS_PER_LINE[1]


@each()
def test_a_question_is_asked_in_a_cell_before_the_one_that_answers_it(path):
    # Or a learner could not guess, and would be told so by an error. Here a guess is made for whoever is asked.
    at_once = re.compile(r"lesson\.(belief|predict)\(.*\.reveal\(", re.DOTALL)

    assert [text for text in map(source, cells(path, "code")) if at_once.search(text)] == []


@each()
def test_a_lesson_has_all_its_parts(path):
    code, prose = ("\n".join(map(source, cells(path, kind))) for kind in ("code", "markdown"))
    of = outline(path.name[:2])

    assert source(cells(path, "markdown")[0]).startswith(f"# {int(path.name[:2])}. {of.title}\n\n**{of.minutes} minutes.**")
    for part in (
        "lesson.predict(",
        "show(",
        *(f'lesson.{verb}("{each.name}")' for each in of.exercises for verb in ("ask", "check", "hint")),
    ):
        assert part in code
    assert re.search(r"^## (The attack|Nothing is left)$", prose, re.MULTILINE) and prose.count("?") >= 5
    assert source(cells(path, "code")[-1]) == "lesson.close()"
    assert "".join(cells(path, "code")[-1]["outputs"][0]["data"]["text/plain"]).startswith("nothing is left")


@each()
def test_names_and_links_in_a_lesson_lead_somewhere(path):
    prose, code = ("\n".join(map(source, cells(path, kind))) for kind in ("markdown", "code"))
    links = re.findall(r"\]\(([^)#]+)\)", prose)
    points = re.findall(r'lesson\.goto\("([^"]+)"\)', code)

    assert [link for link in links if not (FOLDER / link).exists()] == []
    assert set(points) <= set(outline(path.name[:2]).points)
    import scratchlab

    names = set(re.findall(r"\b(stages|attacks|views|linux)\.(\w+)", code + prose))
    assert [f"{module}.{name}" for module, name in names if not hasattr(getattr(scratchlab, module), name)] == []


def test_the_index_names_every_lesson_with_its_title_and_time():
    rows = [
        f"| [{int(path.name[:2])}. {outline(path.name[:2]).title}]({path.name}) | {outline(path.name[:2]).minutes} |"
        for path in NOTEBOOKS
    ]

    assert [line for line in (FOLDER / "README.md").read_text().splitlines() if line.startswith("| [")] == rows


def test_each_lesson_has_its_notebook():
    assert [path.name[:2] for path in NOTEBOOKS] == numbers()
