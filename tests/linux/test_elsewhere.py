"""Doing something in a thread or in a child that is thrown away."""

import os

import pytest

from scratchlab.linux.elsewhere import in_child, in_thread


def test_what_a_child_gives_comes_back_and_nothing_else_does() -> None:
    seen: list[int] = []

    def act() -> list[int]:
        seen.append(os.getpid())
        return seen

    assert in_child(act) not in ([], [os.getpid()]) and seen == []
    assert len(in_child(lambda: "x" * (1 << 20))) == 1 << 20  # more than a pipe holds at once


def test_a_child_that_fails_dies_and_does_not_come_back_as_a_second_one_of_us() -> None:
    reader, writer = os.pipe()
    try:
        answer = in_child(lambda: 1 // 0)
    except ZeroDivisionError:  # only the child can have got here
        os.write(writer, b"a second one")
        os._exit(1)
    os.close(writer)

    assert answer is None
    with open(reader) as told:
        assert told.read() == ""


def test_what_a_thread_gives_or_raises_is_the_callers() -> None:
    assert in_thread(lambda: "done") == "done"
    with pytest.raises(ZeroDivisionError):
        in_thread(lambda: 1 // 0)
