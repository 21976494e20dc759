"""Hints and solutions as a learner asks for them: one at a time, not before a try, and right beyond what is checked."""

import inspect
import os
import re
import signal
import tarfile

import pytest

from scratchlab.errors import InputError
from scratchlab.lessons import Lesson, outline
from tests.conftest import needs_root
from tests.lessons import wrong
from tests.lessons.test_exercises import EXERCISES

pytestmark = [needs_root, pytest.mark.usefixtures("own_progress")]


@pytest.mark.parametrize(("number", "name"), EXERCISES)
def test_an_exercise_knows_three_wrong_answers(number, name):
    assert len(wrong.ANSWERS[name]) >= 3


@pytest.mark.parametrize(("number", "name"), EXERCISES)
def test_hints_come_one_at_a_time_and_are_not_the_solution(number, name):
    exercise = outline(number).exercise(name)
    lesson = Lesson(number, {exercise.answer: wrong.nothing})
    told = [lesson.hint(name) for _ in range(3)]
    lines = [line.strip() for line in inspect.getsource(exercise.solution).splitlines()]

    assert told[0].startswith("hint 1 of ") and told[1].startswith("hint 2 of ") and "that is the last hint" in told[-1]
    assert all(re.search(r"\?|Look|Print|Read|has the words", claim.hints[0]) for claim in exercise.claims)
    assert not [line for line in lines[1:] for claim in exercise.claims for hint in claim.hints if line in hint]


@pytest.mark.parametrize(("number", "name"), EXERCISES)
def test_a_solution_is_shown_after_a_try_and_not_before(number, name):
    exercise = outline(number).exercise(name)
    lesson = Lesson(number, {exercise.answer: wrong.nothing})

    with pytest.raises(InputError, match=f'first lesson.check."{name}".'):
        lesson.solution(name)
    lesson.check(name)
    lesson.hint(name)

    assert repr(lesson.solution(name)).startswith(f"def {exercise.answer}(")


def test_who_did_it_without_a_hint_may_compare_with_ours():
    lesson = Lesson("00", {"rename": outline("00").exercise("rename").solution})

    assert lesson.check("rename").done and repr(lesson.solution("rename")).startswith("def rename(")


def test_who_has_written_nothing_has_not_tried():
    lesson = Lesson("00", {})
    lesson.check("rename")
    lesson.hint("rename")

    with pytest.raises(InputError) as error:
        lesson.solution("rename")
    assert error.value.hint.startswith("write `rename`")


@pytest.mark.parametrize(("answer", "said"), [(None, "is not there yet"), (3, "is a int, not a function")])
def test_an_answer_that_is_none_is_told_so(answer, said):
    lesson = Lesson("00", {"rename": answer})

    assert said in repr(lesson.check("rename"))
    assert "Write a function called `rename`" in lesson.hint("rename")


@pytest.mark.parametrize("number", ["03", "04", "06", "08", "10", "11", "12", "15"])
def test_what_an_answer_prints_in_a_sandbox_is_printed_in_the_notebook(number, capsys):
    (exercise,) = outline(number).exercises

    def look(*_):
        print("this is what I see")

    Lesson(number, {exercise.answer: look}).check(exercise.name)

    assert "this is what I see" in capsys.readouterr().out


def test_an_answer_that_fails_is_told_its_error_without_a_traceback():
    def rename(box):
        raise ValueError("oh")

    assert "`rename` stopped: ValueError: oh" in repr(Lesson("00", {"rename": rename}).check("rename"))


def test_the_look_up_of_lesson_5_stops_at_a_file_that_hides_a_directory(tmp_path):
    look_up = outline("05").exercise("look-up").solution
    (tmp_path / "below/etc").mkdir(parents=True)
    (tmp_path / "below/etc/hosts").touch()
    (tmp_path / "above").mkdir()
    (tmp_path / "above/etc").touch()

    assert look_up([f"{tmp_path}/above", f"{tmp_path}/below"], "etc/hosts") is None
    assert look_up([f"{tmp_path}/below"], "etc/hosts") == f"{tmp_path}/below/etc/hosts"


def test_the_commit_of_lesson_5_takes_no_link_to_a_device_for_a_whiteout(tmp_path):
    (tmp_path / "upper").mkdir()
    (tmp_path / "upper/masked").symlink_to("/dev/null")

    outline("05").exercise("commit").solution(f"{tmp_path}/upper", f"{tmp_path}/layer.tar")

    with tarfile.open(tmp_path / "layer.tar") as layer:
        assert [(member.name, member.linkname) for member in layer] == [("masked", "/dev/null")]


@pytest.mark.parametrize(("number", "name"), [("07", "die-properly"), ("17", "enter")])
def test_what_an_answer_raises_as_the_first_process_of_its_own_is_told(number, name):
    exercise = outline(number).exercise(name)
    found = Lesson(number, {exercise.answer: lambda *_: int("seven")}).check(name)

    assert (found.number, found.seen) == (0, "ValueError: invalid literal for int() with base 10: 'seven'")


def forever(*_):
    while True:
        signal.pause()


def child_that_nobody_ends(*_):
    child = os.fork()
    if child == 0:
        forever()
    os.waitpid(child, 0)


@pytest.mark.parametrize(
    ("number", "name", "answer"), [("00", "rename", forever), ("01", "spawn", child_that_nobody_ends), ("03", "own-tmp", forever)]
)
def test_an_answer_that_never_comes_back_is_interrupted_and_told_so(number, name, answer, monkeypatch):
    monkeypatch.setattr("scratchlab.lessons.exercise._PATIENCE", 1.0)
    lesson = Lesson(number, {outline(number).exercise(name).answer: answer})

    assert "stopped: it did not come back within 1 seconds" in repr(lesson.check(name))
    assert not lesson.close()


def test_an_answer_that_ends_its_process_is_told_so():
    lesson = Lesson("03", {"own_tmp": lambda: os._exit(3)})

    assert "`own_tmp` stopped: the process that it ran in has ended" in repr(lesson.check("own-tmp"))
