"""What differs between machines: both kinds are shown, the mark is on the right one, and only the mark is taken out."""

import os
import re
from pathlib import Path

import pytest

from scratchlab import Sandbox, stages, views
from scratchlab.attacks import is_disposable
from scratchlab.errors import HostError
from scratchlab.lessons import Lesson
from scratchlab.lessons.notebook import sanitized
from scratchlab.linux import cgroupfs
from scratchlab.stages import step
from scratchlab.views.limits import HERE
from tests.conftest import needs_root

RULES = (Path(__file__).resolve().parent.parent.parent / "notebooks" / "sanitize.cfg").read_text()


def of_version_2(controller):
    """By another way than the library's: version 2 has no controller that /proc/cgroups shows in a hierarchy of its own."""
    rows = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()[1:]]
    return {row[0]: row[1] for row in rows}.get(controller, "0") == "0"


def test_the_row_of_this_machine_says_what_was_found_and_the_other_what_is_known():
    found = Lesson("11", {}).by_version("pids", "found", {1: "older", 2: "newer"})

    here, there = ("version 2", "version 1") if of_version_2("pids") else ("version 1", "version 2")
    assert (found.here, found.found) == (here, "found")
    assert found.rows[there] == ("older" if there == "version 1" else "newer")
    assert [line.split()[1] for line in repr(found).splitlines() if HERE in line] == [here[-1]]


def test_a_controller_that_no_machine_has_is_told():
    with pytest.raises(HostError, match="no hierarchy of control groups"):
        Lesson("11", {}).by_version("luck", 1, {1: 1, 2: 2})


def test_what_acts_on_the_whole_machine_is_done_on_one_to_throw_away_and_nowhere_else():
    done = []
    found = Lesson("11", {}).only_disposable(lambda: done.append(1) or "known", "known")

    assert bool(done) == is_disposable()
    assert sorted(repr(found).replace(HERE, "").split("\n")[0].split()) == ["a", "away", "known", "machine", "throw", "to"]


def test_the_sanitizer_takes_the_mark_out_and_leaves_all_that_was_said():
    one = "version 1   True    ← this machine\nversion 2   False"
    other = "version 1   True\nversion 2   False   ← this machine"

    assert sanitized(one, RULES) == sanitized(other, RULES) == "version 1   True\nversion 2   False"
    assert sanitized(one, RULES) != sanitized(other.replace("False", "True"), RULES)


@needs_root
def test_limits_are_shown_in_both_versions_words_and_this_machines_are_the_files_own(box):
    box.play([step(stages.pids, 40), step(stages.memory, "48M"), step(stages.cpu, 0.2)])
    shown = views.limits(box)

    assert {(row.controller, row.version): row.files for row in shown.rows} == {
        ("cpu", 1): "cpu.cfs_quota_us 20000, cpu.cfs_period_us 100000", ("cpu", 2): "cpu.max 20000 100000",
        ("memory", 1): "memory.limit_in_bytes 50331648", ("memory", 2): "memory.max 50331648",
        ("pids", 1): "pids.max 40", ("pids", 2): "pids.max 40",
    }  # fmt: skip
    for row in shown.rows:
        assert row.here == ((row.version == 2) == of_version_2(row.controller))
        for file, text in (pair.split(" ", 1) for pair in row.files.split(", ") if row.here):
            assert Path(cgroupfs.path_of(row.controller, box.name), file).read_text().strip() == text
    assert len(re.findall(HERE, repr(shown))) == 3


@needs_root
def test_a_sandbox_without_limits_has_none_to_show(box):
    assert repr(views.limits(box)) == f"limits of {box.name}\n  none"


@needs_root
def test_a_lessons_group_has_its_controllers_and_goes_with_whoever_is_in_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    lesson = Lesson("11", {})
    group = lesson.group("pids", "memory")
    with Sandbox("inside") as box:
        cgroupfs.enter(group, box.pid)
        os.mkdir(f"{group}/below")

        assert cgroupfs.is_ours(group) and cgroupfs.has(group, "pids.max")
        assert cgroupfs.has(cgroupfs.path_of("memory", os.path.basename(group)), "memory.stat")
        assert not lesson.close() and not os.path.exists(group)


@needs_root
def test_a_group_that_is_left_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("scratchlab.lessons.leaks._PATIENCE", 0.1)
    lesson = Lesson("11", {})
    group = lesson.group("pids")

    assert f"control group {group}" in repr(lesson._before.leaks([], None, [group]))
    assert not lesson.close()
