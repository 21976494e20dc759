"""A learner's copies: nothing given away, nothing of theirs ever overwritten, and what they never touched stays up to date."""

import json
import re
import subprocess
import sys

import pytest

from scratchlab.lessons import copies, numbers, outline, shelf
from scratchlab.lessons.notebook import source, tags
from scratchlab.lessons.tracks import TRACKS, minutes
from tests.command_line import ROOT, complains

LESSONS = shelf.lessons()


def each():
    return pytest.mark.parametrize("lesson", LESSONS, ids=[lesson.number for lesson in LESSONS])


def cells(path):
    return json.loads(path.read_text())["cells"]


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """In place of the one in conftest.py, which asks the machine twice for each test: nothing here does more than copy."""


@pytest.fixture
def mine(tmp_path):
    """A learner's folder, made some time ago."""
    copies.copy_to(tmp_path / "mine")
    return tmp_path / "mine"


def as_if_older(folder, name):
    """The file is as an older library wrote it."""
    (folder / name).write_text("an older one")
    written = json.loads((folder / ".scratchlab.json").read_text())
    written[name] = copies._mark("an older one")
    (folder / ".scratchlab.json").write_text(json.dumps(written))


# -- one lesson -------------------------------------------------------------------------------------------------------


@each()
def test_a_copy_has_no_output_and_no_solution_and_asks_for_the_root_vm(lesson, mine):
    copied = json.loads((mine / lesson.path.name).read_text())

    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in copied["cells"])
    # A text may say how to ask for one.
    assert "lesson.solution(" not in "".join(source(cell) for cell in copied["cells"] if cell["cell_type"] == "code")
    assert any("solution" in tags(cell) for cell in lesson.read()["cells"])
    assert copied["metadata"]["kernelspec"]["name"] == "scratchlab"


@each()
def test_a_copy_ends_in_a_link_to_what_is_next_and_to_the_index(lesson, mine):
    last = source(cells(mine / lesson.path.name)[-1])
    following = LESSONS[LESSONS.index(lesson) + 1 :][:1]

    assert re.findall(r"\]\(([^)]+)\)", last) == [*(after.path.name for after in following), "index.md"]


@each()
def test_the_shelf_says_of_a_lesson_what_its_outline_says(lesson):
    assert (lesson.title, lesson.minutes) == outline(lesson.number)[:2]


def test_the_shelf_has_every_lesson():
    assert [lesson.number for lesson in LESSONS] == numbers()


# -- the folder -------------------------------------------------------------------------------------------------------


def test_what_the_learner_changed_stays_and_they_are_told_of_a_newer_one(mine):
    as_if_older(mine, "02-chroot.ipynb")
    (mine / "02-chroot.ipynb").write_text("mine")

    for _ in range(2):
        copied = copies.copy_to(mine)
        assert (mine / "02-chroot.ipynb").read_text() == "mine"
        assert (copied.kept, copied.renewed, copied.new) == (["02-chroot.ipynb"], [], [])


def test_where_there_is_no_newer_one_nothing_is_said_of_a_changed_one(mine):
    (mine / "02-chroot.ipynb").write_text("mine")

    assert copies.copy_to(mine) == (mine, [], [], [])
    assert (mine / "02-chroot.ipynb").read_text() == "mine"


def test_what_the_learner_never_changed_is_brought_up_to_date(mine):
    today = (mine / "02-chroot.ipynb").read_text()
    as_if_older(mine, "02-chroot.ipynb")

    assert copies.copy_to(mine).renewed == ["02-chroot.ipynb"]
    assert (mine / "02-chroot.ipynb").read_text() == today


def test_a_lesson_that_was_only_opened_is_not_changed_and_one_that_was_run_is(mine):
    opened = json.loads((mine / "02-chroot.ipynb").read_text())
    opened["metadata"] |= {
        "kernelspec": {"name": "scratchlab", "display_name": "Elsewhere"},
        "language_info": {"version": "3.14"},
    }
    before = json.loads((mine / ".scratchlab.json").read_text())["02-chroot.ipynb"]
    assert copies._mark(json.dumps(opened)) == before

    output = {"output_type": "stream", "name": "stdout", "text": "mine"}
    next(cell for cell in opened["cells"] if cell["cell_type"] == "code")["outputs"].append(output)
    assert copies._mark(json.dumps(opened)) != before


def test_a_file_that_happened_to_be_there_is_the_learners(tmp_path):
    (tmp_path / "index.md").write_text("my own index")

    assert "index.md" not in copies.copy_to(tmp_path).new
    assert (tmp_path / "index.md").read_text() == "my own index"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"02-chroot.ipynb": 7}'])
def test_without_a_record_of_what_was_written_all_that_is_there_is_the_learners(mine, text):
    (mine / ".scratchlab.json").write_text(text)
    (mine / "02-chroot.ipynb").write_text("mine")
    copies.copy_to(mine)

    assert (mine / "02-chroot.ipynb").read_text() == "mine"


def test_who_removes_a_copy_gets_a_new_one_and_other_files_are_not_touched(mine):
    (mine / "02-chroot.ipynb").unlink()
    (mine / "notes.txt").write_text("notes")

    assert copies.copy_to(mine).new == ["02-chroot.ipynb"]
    assert (mine / "notes.txt").read_text() == "notes"


def test_a_folder_that_cannot_be_one_is_refused_in_words(tmp_path):
    (tmp_path / "file").write_text("")

    complains(125, "cannot write your lessons to .*file", "lab", "--no-browser", "--folder", tmp_path / "file")


def test_the_workshop_hands_out_the_same(mine, tmp_path):
    command = [sys.executable, "tools/notebooks.py", "student", str(tmp_path / "other")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    assert {path.name: path.read_bytes() for path in mine.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "other").iterdir()
    }


# -- the index --------------------------------------------------------------------------------------------------------


def test_the_index_links_every_lesson_with_its_minutes(mine):
    rows = re.findall(r"^\| \[(\d+)\. (.+)\]\((.+)\) \| (\d+) \|$", (mine / "index.md").read_text(), re.MULTILINE)

    assert [(int(number), title, int(time)) for number, title, _, time in rows] == [
        (int(number), outline(number).title, outline(number).minutes) for number in numbers()
    ]
    assert all((mine / link).is_file() for _, _, link, _ in rows)


def test_a_track_says_how_long_its_lessons_take(mine):
    rows = {name: (links, time) for name, links, time in re.findall(
        r"^\| \*\*(.+)\*\* \| .+ \| (.+) \| (.+) \|$", (mine / "index.md").read_text(), re.MULTILINE
    )}  # fmt: skip

    assert list(rows) == [track.name for track in TRACKS]
    for track in TRACKS:
        links, time = rows[track.name]
        there = [number for number in track.numbers if number in numbers()]
        amounts = dict(re.findall(r"(\d+) (h|min)", time))
        assert [number.zfill(2) for number in re.findall(r"\[(\d+)\]", links)] == there
        said = sum(int(amount) * {"h": 60, "min": 1}[unit] for amount, unit in re.findall(r"(\d+) (h|min)", time))
        assert amounts and said == sum(outline(number).minutes for number in there)


@pytest.mark.parametrize("track", TRACKS, ids=[track.name for track in TRACKS])
def test_a_track_fits_into_the_time_that_its_name_promises_and_is_in_order(track):
    assert list(track.numbers) == sorted(set(track.numbers)) and set(track.numbers) <= {f"{number:02}" for number in range(19)}
    assert not track.at_most or minutes(track.lessons(LESSONS)) <= track.at_most
