"""A lesson that is begun again, left in the middle, or killed: what it has made is gone, and nothing else is."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scratchlab import journal, linux
from scratchlab.lessons import Lesson
from scratchlab.lessons.folder import Folder
from tests.command_line import ENVIRONMENT, ROOT
from tests.conftest import needs_root

pytestmark = needs_root

LEFT = "from scratchlab.lessons import Lesson; lesson = Lesson('02'); lesson.sandbox(); print(lesson.folder, flush=True); "


def python(program):
    return subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)


def test_who_runs_the_first_cell_again_begins_anew():
    names = {}
    first = Lesson("02", names)
    box, folder, name = first.sandbox(), first.folder, first._boxes[0].name
    (folder / "root").mkdir()

    lesson = Lesson("02", names)
    other = Lesson("02", {})

    assert box.closed and not folder.exists()
    assert (lesson.folder, lesson.sandbox().name) == (folder, name)
    assert other.folder != folder
    assert not lesson.close() and not other.close()


def test_one_thing_that_cannot_be_closed_keeps_nothing_else_open(monkeypatch):
    lesson = Lesson("02", {})
    folder, box, group = lesson.folder, lesson.sandbox(), lesson.group("pids")
    close, stuck = type(box).close, lesson.sandbox()
    monkeypatch.setattr(type(box), "close", lambda self: close(self) or (self is stuck and os.stat("/no/such/file")))

    with pytest.raises(FileNotFoundError):
        lesson.close()

    assert box.closed and not folder.exists() and not os.path.isdir(group)
    assert not lesson.close()


def test_a_program_that_ends_in_the_middle_of_a_lesson_leaves_no_folder():
    with python(LEFT + "import os; child = os.fork(); child and os.wait()") as program:
        assert not Path(program.stdout.read().split()[0]).exists()


def test_a_forked_child_that_ends_takes_nothing_from_its_parent():
    see = "import os, sys; child = os.fork() or sys.exit(); os.wait(); print(lesson.folder.exists())"
    with python(LEFT + see) as program:
        assert program.stdout.read().split()[1] == "True"


def test_a_lesson_that_was_killed_and_is_opened_again_has_its_folder_again():
    with python(LEFT + "import time; time.sleep(60)") as program:
        folder = Path(program.stdout.readline().strip())
        program.send_signal(signal.SIGKILL)
    assert folder.exists()

    again = Folder.make("02")

    assert again.path == folder and list(folder.iterdir()) == [folder / ".scratchlab"]
    again.close()


def test_what_is_mounted_in_the_folder_is_taken_away_and_never_emptied(tmp_path):
    (tmp_path / "precious").write_text("mine")
    lesson = Lesson("03", {})
    for place in ("bound", "bound/again"):
        (lesson.folder / place).mkdir()
        linux.mount(str(tmp_path), str(lesson.folder / place), None, linux.Mount.BIND)

    assert not lesson.close()
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_name_that_another_program_has_taken_since_is_no_leak(monkeypatch):
    monkeypatch.setattr("scratchlab.lessons.leaks._PATIENCE", 0.1)
    lesson = Lesson("02", {})
    box = lesson.sandbox()
    box.close()
    with python("import time; time.sleep(60)") as other:
        theirs = journal.Journal.claim(box.name, exact=True, owner=other.pid)
        try:
            assert not lesson.close()
        finally:
            theirs.close()
            other.kill()


def test_a_name_of_ours_that_is_still_there_is_a_leak(monkeypatch):
    monkeypatch.setattr("scratchlab.lessons.leaks._PATIENCE", 0.1)
    lesson = Lesson("02", {})
    box = lesson.sandbox()
    box.close()
    left = journal.Journal.claim(box.name, exact=True, owner=box._keeper.process.pid)
    try:
        assert f"journal {left.path}" in repr(lesson.close())
    finally:
        left.close()
