"""Errors: what they say, that live facts decide the hint, and that they survive a trip to another process."""

import copy
import errno
import pickle

import pytest

from scratchlab import errors
from scratchlab.errors import (
    HostError,
    InputError,
    KernelError,
    SandboxError,
    ScratchlabError,
    StageError,
    from_wire,
    to_wire,
)

KINDS = [StageError, InputError, HostError, SandboxError, ScratchlabError]


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    drawn = {line.split()[1] for line in (errors.__doc__ or "").splitlines() if "──" in line}
    assert drawn == {kind.__name__ for kind in descendants(ScratchlabError) if kind.__module__ == errors.__name__}


def descendants(kind: type[ScratchlabError]) -> set[type[ScratchlabError]]:
    return set(kind.__subclasses__()).union(*(descendants(child) for child in kind.__subclasses__()))


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_says_what_and_then_what_to_do(kind: type[ScratchlabError]) -> None:
    assert str(kind("it is so", "do this")) == "it is so\n  hint: do this"
    assert str(kind("it is so")) == "it is so"


def test_errors_are_also_what_python_programmers_catch() -> None:
    assert issubclass(KernelError, OSError)
    assert issubclass(InputError, ValueError)


@pytest.mark.parametrize("error", [*(kind("m", "h") for kind in KINDS), KernelError("mount", {"a": "1"}, errno.EBUSY, "h")])
def test_errors_survive_the_wire_and_pickle_and_copy(error: ScratchlabError) -> None:
    for twin in (from_wire(to_wire(error)), pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert getattr(twin, "errno", None) == getattr(error, "errno", None)


def test_a_strangers_error_travels_as_a_sandbox_error_and_an_unknown_kind_as_the_base() -> None:
    assert str(from_wire(to_wire(ZeroDivisionError("by nothing")))) == "ZeroDivisionError: by nothing"
    assert type(from_wire({"kind": "SystemExit", "message": "m", "hint": ""})) is ScratchlabError


def test_a_hint_that_came_over_the_wire_is_not_looked_for_again() -> None:
    assert from_wire(to_wire(KernelError("unshare", {}, errno.EPERM, ""))).hint == ""


def test_a_hint_is_looked_for_by_an_error_that_has_none() -> None:
    assert "does not exist in /" in KernelError("open", {"pathname": '"/nowhere"'}, errno.ENOENT).hint
    assert KernelError("open", {"pathname": '"/nowhere"'}, errno.ENOENT, "mine").hint == "mine"
