"""The ledger: what was really called, by the manual's names."""

import errno
import os
import re
import time
from enum import IntEnum, IntFlag

import pytest

from scratchlab import linux
from scratchlab.errors import KernelError
from scratchlab.linux import Clone, Mount, recording
from scratchlab.linux.ledger import Bare, record, render


def call(name: str, result: object = None) -> None:
    record(name, {}, lambda: result)


def test_a_call_is_written_with_its_arguments_result_and_time() -> None:
    with recording() as calls:
        linux.chdir("/")

    (entry,) = calls
    assert str(entry) == 'chdir(path="/") = 0'
    assert 0 <= entry.seconds <= time.perf_counter()


def test_a_failed_call_is_written_by_the_name_of_its_errno() -> None:
    with recording() as calls, pytest.raises(KernelError):
        linux.chdir("/no/such/place")

    assert [entry.result for entry in calls] == ["ENOENT"]


def test_a_ledger_inside_another_is_part_of_it() -> None:
    with recording() as outer:
        call("one")
        with recording() as inner:
            call("two")
        call("three")

    assert [entry.name for entry in outer] == ["one", "two", "three"]
    assert [entry.name for entry in inner] == ["two"]


def test_two_ledgers_with_the_same_calls_are_not_taken_for_each_other() -> None:
    with recording() as outer:
        with recording() as inner:
            pass  # both are empty, and equal, when the inner one closes
        call("after")

    assert [entry.name for entry in outer] == ["after"]
    assert inner == []


def test_nothing_is_kept_after_the_block_even_if_it_raises() -> None:
    with pytest.raises(ZeroDivisionError), recording() as calls:
        call("before")
        raise ZeroDivisionError
    call("after")

    assert [entry.name for entry in calls] == ["before"]


def test_an_oserror_becomes_a_kernel_error_with_the_same_errno() -> None:
    def refuse() -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    with pytest.raises(KernelError, match=re.escape("rest(): Device or resource busy (EBUSY)")) as caught:
        record("rest", {}, refuse)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


class Level(IntEnum):
    HIGH = 3


class Odd(IntFlag):
    ONE = 1
    FOUR = 4


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        (7, "7"),
        ("web", '"web"'),
        ("two\nlines", '"two\\nlines"'),
        (Bare("0o755"), "0o755"),
        (b"1234", "4 bytes"),
        (Level.HIGH, "HIGH"),
        (Mount(0), "0"),
        (Mount.NODEV | Mount.NOSUID, "NOSUID|NODEV"),
        (Clone.NEWPID, "NEWPID"),
        (Odd(1 | 2 | 8), "ONE|0xa"),
        (Odd(2), "0x2"),
    ],
)
def test_arguments_read_as_a_c_programmer_writes_them(value: object, text: str) -> None:
    assert render(value) == text
