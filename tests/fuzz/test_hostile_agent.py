"""An agent in somebody else's hands: whatever it answers, we get a value or an error of ours, and lose no file.

How much is tried, and how to try more: profile.py.
"""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlab import Sandbox, stages
from scratchlab.errors import SandboxError, ScratchlabError
from scratchlab.finished import Finished, signal_name, signal_number
from scratchlab.linux.ledger import Call
from scratchlab.observe import Snapshot, diff, from_data, to_data
from scratchlab.sandbox.answers import ending_of
from scratchlab.sandbox.applied import Applied
from scratchlab.sandbox.client import KeeperLike
from scratchlab.sandbox.steps import pack, unpack
from scratchlab.sandbox.wire import Channel, Message
from scratchlab.stages import STAGES, Step, step
from tests.conftest import needs_root
from tests.fuzz.profile import any_text, damaged, examples, json_values, outcome


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the one in conftest.py: the agents here are threads, and do nothing to the machine."""


class Naive(KeeperLike):
    """A keeper that hands out one end of a conversation, and has nothing to say of its own."""

    def __init__(self, end: int) -> None:
        self.end = end

    def call(self, verb: str, **body: Any) -> Message:
        told = {"start": {"name": "box", "pid": os.getpid()}, "oom_kills": 0}
        return Message({"ok": told.get(verb)}, [self.end] if verb == "start" else [], os.getpid())

    def abandon(self, box: str) -> None:
        """There is nothing to close."""


@contextmanager
def hostile(answer: dict[str, Any], fds: int, status: bytes) -> Iterator[Sandbox]:
    """A sandbox whose agent gives this answer, some files with it, and this end of a command."""
    before = len(os.listdir("/proc/self/fd"))
    ours, theirs = socket.socketpair()
    there = Channel(theirs)

    def act() -> None:
        request = there.receive()
        spare = [os.open("/dev/null", os.O_RDONLY) for _ in range(fds)]
        if request.fds:
            os.write(request.fds[-1], status)
        for fd in request.fds:
            os.close(fd)
        there.send({"number": request.body["number"], **answer}, spare)
        for fd in spare:
            os.close(fd)

    thread = threading.Thread(target=act)
    thread.start()
    with Sandbox(keeper=Naive(ours.detach())) as box:
        yield box
    thread.join()
    there.close()
    assert len(os.listdir("/proc/self/fd")) == before


calls = st.builds(Call, any_text, st.dictionaries(any_text, any_text, max_size=2), any_text, st.floats(0)).map(Call._asdict)
rows = st.fixed_dictionaries(
    {"value": json_values, "calls": st.lists(calls, max_size=2), "printed": any_text, "seconds": st.floats(0)},
    optional={"more": json_values},
)
errors = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["KernelError", "StageError", "SystemExit"]) | json_values, "call": any_text | json_values,
        "arguments": st.dictionaries(any_text, json_values, max_size=2) | json_values, "errno": st.integers(),
        "hint": any_text | st.none(), "message": any_text | json_values,
    },
)  # fmt: skip
answers = st.fixed_dictionaries(
    {},
    optional={
        "ok": st.lists(rows, min_size=1, max_size=1) | st.just({"pid": 7}) | json_values,
        "error": errors | json_values, "done": st.lists(rows, max_size=2) | json_values,
    },
)  # fmt: skip
endings = damaged(st.sampled_from(['{"exit": 0}', '{"signal": 9}', '{"signal": 40}', '{"stopped": 20}\n{"exit": 1}'])).map(
    lambda text: text.encode(errors="surrogatepass")[:2000]  # less than a pipe takes at once
)


@given(answers, st.integers(0, 8))
@examples(300)
def test_steps_have_a_result_or_an_error_of_ours_whatever_the_agent_answers(answer: dict[str, Any], fds: int) -> None:
    todo = step(stages.unshare_uts)
    with hostile(answer, fds, b"") as box:
        found = outcome(box.play, [todo])
        assert box.steps in ([], [todo])

    if not isinstance(found, ScratchlabError):
        assert isinstance(repr(Applied.of(todo, found[0], ())), str)


@given(answers | st.just({"ok": {"pid": 7}}), st.integers(0, 8), endings)
@examples(300)
def test_a_command_has_an_ending_or_an_error_of_ours_whatever_the_agent_answers(
    answer: dict[str, Any], fds: int, status: bytes
) -> None:
    with hostile(answer, fds, status) as box:
        found = outcome(box.run, "true")

    if isinstance(found, Finished):
        assert isinstance(repr(found), str) and 0 <= found.code < 256
    else:
        assert isinstance(found, ScratchlabError)


@given(endings)
@examples(200)
def test_an_ending_is_one_or_the_agent_is_not_believed(line: bytes) -> None:
    assert outcome(ending_of, line) is None or isinstance(outcome(ending_of, line), dict | SandboxError)


def test_every_signal_has_a_name_that_leads_back_to_its_number() -> None:
    assert [signal_number(signal_name(number)) for number in range(1, 65)] == list(range(1, 65))
    assert [signal_name(number) for number in (9, 34, 35)] == ["SIGKILL", "SIGRTMIN", "SIGRTMIN+1"]


# -- snapshots --------------------------------------------------------------------------------------------------------

NOW = json.loads(json.dumps(to_data(Snapshot.of(os.getpid()))))
values = json_values | st.lists(st.lists(json_values, max_size=10), max_size=3) | st.sampled_from(list(NOW.values()))
snapshots = st.dictionaries(st.sampled_from(list(NOW)) | any_text, values, max_size=3).map(lambda part: {**NOW, **part})


@given(snapshots)
@examples(300)
def test_a_snapshot_can_be_shown_and_compared_or_is_refused(data: dict[str, Any]) -> None:
    found = outcome(from_data, data)

    if isinstance(found, Snapshot):
        assert isinstance(repr(found), str)
        assert isinstance(repr(diff(from_data(NOW), found)) + repr(diff(found, from_data(NOW), "host")), str)


def test_a_snapshot_is_the_same_after_the_journey() -> None:
    seen = Snapshot.of(os.getpid())

    assert from_data(json.loads(json.dumps(to_data(seen)))) == seen


@given(st.dictionaries(st.sampled_from(list(NOW)).filter(lambda name: name != "pid"), st.none(), max_size=40))
@examples(100)
def test_a_snapshot_with_empty_fields_can_be_shown_and_compared(without: dict[str, None]) -> None:
    data = {name: value for name, value in NOW.items() if name not in without}

    assert isinstance(repr(from_data(data)) + repr(diff(from_data(NOW), from_data(data))), str)


# -- steps ------------------------------------------------------------------------------------------------------------


@given(
    st.sampled_from(list(STAGES.values())), st.lists(json_values, max_size=3), st.dictionaries(any_text, json_values, max_size=2)
)
@examples(200)
def test_a_step_is_the_same_after_the_journey(stage: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    sent = json.dumps(pack(Step(stage, tuple(args), kwargs)))

    again = unpack(json.loads(sent))

    assert again.stage is stage
    assert json.dumps(pack(again)) == sent


@given(
    st.recursive(st.just([]), lambda inner: st.tuples(inner).map(list), max_leaves=1), st.sampled_from([900, 980, 1000, 100_000])
)
@examples(10)
@needs_root
def test_arguments_that_are_nested_without_end_are_refused_and_the_sandbox_lives(seed: list[Any], depth: int) -> None:
    nested = seed
    for _ in range(depth):
        nested = [nested]
    with Sandbox("nested") as box, suppress(ScratchlabError):
        box.apply(swallow, nested)
        assert box.run("echo", "alive").out == "alive"


def swallow(_value: Any) -> None:
    """A learner's function, which takes anything."""
