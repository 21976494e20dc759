"""A lesson's own promises: guesses come first, points are built, progress is kept, and what is left behind is told."""

import json
import os
import sys

import pytest

from scratchlab import journal, linux, stages
from scratchlab import progress as record
from scratchlab.errors import HostError, InputError
from scratchlab.lessons import Lesson, Prediction, numbers, outline, unattended
from scratchlab.lessons.folder import Folder, remove
from scratchlab.lessons.predict import UNATTENDED
from tests.conftest import needs_root

pytestmark = pytest.mark.usefixtures("own_progress")


@pytest.fixture
def attended(monkeypatch):
    """Somebody sits at a prompt."""
    monkeypatch.delenv(UNATTENDED, raising=False)
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)


# -- predictions ------------------------------------------------------------------------------------------------------


def test_a_guess_comes_before_the_answer(attended):
    guess = Prediction("How many?", {"none": 0, "all": 8})

    with pytest.raises(InputError, match="not guessed yet"):
        guess.reveal(8)
    guess.choose(1)

    assert repr(guess.reveal(8)) == "guess    none\nkernel   all   ← look again"
    assert repr(guess.choose(2).reveal(8)) == "guess    all\nkernel   all"


def test_a_question_that_is_asked_again_keeps_its_guess_and_another_question_has_none(attended):
    lesson = Lesson("00")
    lesson.predict("How many?", {"none": 0, "all": 8}).choose(2)
    lesson.belief("namespaces-come-with-docker").choose(1)

    assert lesson.predict("How many?", {"none": 0, "all": 8}).guess == "all"
    assert lesson.belief("namespaces-come-with-docker").guess
    assert lesson.predict("How few?", {"none": 0, "all": 8}).guess == ""
    assert lesson.predict("How many?", ["one", "two"]).guess == ""


def test_where_nobody_is_there_the_belief_is_the_guess(monkeypatch, attended):
    monkeypatch.setenv(UNATTENDED, "1")

    assert unattended() and Prediction("?", ["yes", "no"]).reveal("no").guess == "yes"


@pytest.mark.parametrize("number", [0, 3, -1, "yes", None])
def test_an_option_that_does_not_exist_cannot_be_chosen(number, attended):
    with pytest.raises(InputError, match="choose 1 to 2"):
        Prediction("?", ["yes", "no"]).choose(number)


def test_an_answer_that_no_option_stands_for_is_an_error():
    with pytest.raises(InputError, match="no option stands for that"):
        Prediction("?", {"none": 0, "all": 8}).reveal(3)
    with pytest.raises(InputError, match="at least two"):
        Prediction("?", ["yes"])


def test_in_a_notebook_the_options_can_be_clicked(attended, monkeypatch):
    monkeypatch.setattr("scratchlab.lessons.predict.in_notebook", lambda: True)
    guess = Prediction("One <or> two?", ["one", "two"])

    shown = guess._repr_mimebundle_()

    assert shown["text/plain"] == "One <or> two?\n  1  one\n  2  two"
    assert "application/vnd.jupyter.widget-view+json" in shown


# -- sandboxes --------------------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize(("number", "point"), [(number, point) for number in numbers() for point in outline(number).points])
def test_every_point_of_a_lesson_can_be_built(number, point):
    lesson = Lesson(number)
    first = lesson.sandbox()

    box = lesson.goto(point)

    assert first.closed and box.run("true").ok
    assert [step.name for step in box.steps][-len(outline(number).points[point]) :] == [
        step.name for step in outline(number).points[point]
    ] or not outline(number).points[point]
    assert not lesson.close()


@needs_root
def test_what_a_lesson_leaves_behind_is_told(monkeypatch):
    monkeypatch.setattr("scratchlab.lessons.leaks._PATIENCE", 0.1)
    lesson = Lesson("02")
    folder, boxes = lesson.folder, [lesson.sandbox()]
    lesson._folder, folder_of = None, lesson._folder

    left = lesson._before.leaks(boxes, folder)
    lesson.close()
    folder_of.close()

    assert left and f"folder {folder}" in repr(left) and f"process {boxes[0].pid}" in repr(left)
    assert f"journal {journal.run_directory()}/{boxes[0].name}.journal" in repr(left)
    assert not folder.exists()


@needs_root
def test_a_mount_that_reached_the_host_is_told(monkeypatch):
    monkeypatch.setattr("scratchlab.lessons.leaks._PATIENCE", 0.1)
    lesson = Lesson("03")
    place = lesson.folder / "leak"
    place.mkdir()
    linux.mount("tmpfs", str(place), "tmpfs", linux.Mount(0), "size=4k")
    try:
        assert f"mount {place} tmpfs" in repr(lesson._before.leaks([], None))
    finally:
        linux.umount2(str(place))
    assert not lesson.close()


@needs_root
def test_a_folder_goes_with_its_journal_and_only_if_it_is_ours(tmp_path):
    folder = Folder.make("99")
    other = Folder.make("99")
    (folder.path / "file").write_text("x")

    remove(str(other.path), "another mark")
    remove("/tmp/lesson-never-made", "")
    folder.close()

    assert other.path != folder.path and other.path.exists() and not folder.path.exists()
    other.close()
    assert not other.path.exists()


# -- progress ---------------------------------------------------------------------------------------------------------


def test_guesses_and_exercises_are_counted_by_lesson():
    lesson = Lesson("07", {})
    lesson.predict("?", ["yes", "no"]).reveal("no")
    lesson.predict("??", ["yes", "no"]).reveal("yes")
    record.solved("07", "die-properly")

    line = next(line for line in repr(lesson.progress()).splitlines() if line.startswith("07  Being PID 1"))
    assert line.endswith("1 of 1 exercises, 1 of 2 guesses right")
    assert json.loads(record.path().read_text()) == {"07": {"exercises": ["die-properly"], "guesses": [1, 2]}}


def test_of_a_question_that_is_revealed_again_only_the_first_guess_counts(attended):
    lesson = Lesson("07", {})
    guess = lesson.predict("?", ["yes", "no"]).choose(1)
    guess.reveal("no")

    guess.choose(2).reveal("no")
    lesson.predict("?", ["yes", "no"]).reveal("no")

    assert record.read() == {"07": {"guesses": [0, 1]}}


@pytest.mark.parametrize("damage", ['{"exercises": null}', '{"exercises": [["init"]]}', '{"guesses": "many"}', "null"])
def test_one_damaged_entry_costs_no_other_and_lessons_go_on(damage, attended):
    record.path().parent.mkdir(parents=True)
    record.path().write_text('{"00": {"exercises": ["rename"]}, "07": ' + damage + "}")
    lesson = Lesson("07", {})

    lesson.predict("?", ["yes", "no"]).choose(1).reveal("yes")
    record.solved("07", "die-properly")

    rows = repr(lesson.progress()).splitlines()
    assert rows[0].endswith("1 of 1 exercises") and rows[7].endswith("1 of 1 exercises, 1 of 1 guesses right")


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"07": 3}'])
def test_a_damaged_file_counts_as_none_and_is_replaced(damage):
    record.path().parent.mkdir(parents=True)
    record.path().write_text(damage)

    record.solved("07", "die-properly")

    assert record.read() == {"07": {"exercises": ["die-properly"]}}


def test_a_place_that_cannot_be_written_is_told(monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", os.devnull)

    with pytest.raises(HostError, match="progress cannot be written"):
        record.guessed("07", True)


# -- wrong words ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (lambda: Lesson("99"), "there is no lesson '99'"),
        (lambda: Lesson("07", {}).goto("nowhere"), "lesson 07 has no point 'nowhere'"),
        (lambda: Lesson("07", {}).check("nothing"), "no exercise is called 'nothing' here"),
        (lambda: Lesson("07", {}).belief("nobody"), "nobody believes 'nobody'"),
    ],
)
def test_what_does_not_exist_is_told_with_what_does(asked, answer):
    with pytest.raises(InputError, match=answer) as error:
        asked()
    assert error.value.hint.startswith(("there is", "there are"))


def test_an_answer_is_found_among_the_callers_own_names():
    assert stages and Lesson("07")._names is globals()


def test_what_was_done_elsewhere_is_added_and_what_is_no_progress_is_not():
    record.guessed("01", True)
    before = {"01": {"guesses": [3, 4]}}
    after = {"01": {"guesses": [3, 6], "exercises": ["spawn"]}, "02": {"exercises": ["smallest-root"]}}
    record.take_over(before, after)
    told = {"01": {"exercises": ["spawn"], "guesses": [1, 3]}, "02": {"exercises": ["smallest-root"], "guesses": [0, 0]}}
    assert record.read() == told

    for bad in ({"../..": {"guesses": [1, 1]}}, {"03": {"guesses": [2, 1]}}, {"03": {"exercises": ["<b>", 7]}},
                {"03": []}, {"03": {"guesses": ["1", True]}}, {"03": {"exercises": {"a": 1}}}):  # fmt: skip
        record.take_over({}, bad)
    assert record.read() == told
