"""Whether a machine would be there at once, and that it is what the lesson on machines says of it."""

from pathlib import Path

import pytest

from scratchlab.lessons import kinds
from scratchlab.vm.ready import ready


def test_a_machine_is_ready_once_one_was_started(built: None) -> None:
    assert ready()


def test_where_nothing_was_built_none_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert not ready()


def test_what_was_recorded_of_a_machine_is_what_is_measured_of_one(built: None) -> None:
    _, container, machine = kinds.kinds()

    assert machine.measured
    assert machine._replace(start_ms=0, memory_kb=0, measured=False) == kinds.RECORDED._replace(start_ms=0, memory_kb=0)
    assert machine.start_ms > 5 * container.start_ms and machine.memory_kb > 5 * container.memory_kb
