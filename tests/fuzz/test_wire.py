"""The conversation, with everything wrong that can be: keeper and agent answer or end cleanly; the client believes nothing.

How much is tried, and how to try more: profile.py.
"""

import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlab import Sandbox, stages
from scratchlab.errors import GoneError, ScratchlabError, StageError, from_wire, to_wire
from scratchlab.sandbox.client import RemoteKeeper
from scratchlab.sandbox.keeper import VERBS
from scratchlab.sandbox.wire import Channel, close_all
from tests.conftest import eventually, needs_root
from tests.fuzz.profile import any_text, damaged_bytes, examples, in_time, json_values, outcome

pytestmark = needs_root

NOBODY = 1 << 23  # above the largest pid


@pytest.fixture(scope="module")
def keeper() -> Iterator[RemoteKeeper]:
    """A keeper of its own: what is done to it here is done to no other test."""
    made = RemoteKeeper()
    yield made
    made.close()


@pytest.fixture
def sandbox(keeper: RemoteKeeper) -> Iterator[Sandbox]:
    with Sandbox("wire", keeper=keeper) as made:
        yield made


def files(pid: int) -> list[str]:
    """What a process has open, by kind; sockets and pipes have numbers that differ."""
    opened = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            opened.append(os.readlink(f"/proc/{pid}/fd/{fd}").partition(":")[0])
    return sorted(opened)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def unharmed(pid: int) -> Iterator[None]:
    """A process that lives on, with the same files and the same children, whatever is done to it meanwhile."""
    before = files(pid), children(pid)
    yield
    assert eventually(lambda: (files(pid), children(pid)), before) == before


@contextmanager
def pipes(count: int) -> Iterator[list[int]]:
    """So many file descriptors to send along."""
    with ExitStack() as stack:
        ends: list[int] = []
        while len(ends) < count:
            ends += os.pipe()
        for end in ends:
            stack.callback(os.close, end)
        yield ends[:count]


def answer_of(channel: Channel, body: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """What comes back for a message. Without `number`, so that no answer is passed over."""
    channel.send(body, fds)
    answer = channel.receive()
    close_all(answer.fds)
    assert "error" in answer.body or "ok" in answer.body
    if "error" in answer.body:
        assert isinstance(from_wire(answer.body["error"]), ScratchlabError)
    return answer.body


# -- the keeper -------------------------------------------------------------------------------------------------------

junk = json_values | any_text
# What a verb might take, and what it might be given instead. No pid of a living process: the keeper does what its client asks.
fields = {
    "name": st.sampled_from(["web", "", "../x", "a\0b"]) | junk, "exact": st.booleans() | junk,
    "born": st.sampled_from([["pid"], ["x"], "pid"]) | junk,
    "facts": st.just({"pid": 7}) | junk, "controllers": st.sampled_from([[], ["pids"], ["nothing"], "pids"]) | junk,
    "box": st.just("wire") | junk, "pid": st.sampled_from([NOBODY, 0, -1, 1 << 70, "7"]), "path": junk.filter(lambda x: not x),
    "stage_name": st.sampled_from(["hostname", "mask"]) | junk, "ledger": st.booleans() | junk, "number": junk,
    "steps": st.lists(st.fixed_dictionaries({}, optional={"stage": junk, "args": junk, "kwargs": junk})) | junk,
}  # fmt: skip
requests = st.fixed_dictionaries({}, optional={"do": st.sampled_from(VERBS) | junk, **fields})


@given(requests | st.dictionaries(any_text, junk), st.integers(0, 12))
@examples(300)
def test_the_keeper_answers_anything_and_is_as_before(keeper: RemoteKeeper, request: dict[str, Any], count: int) -> None:
    with in_time(), unharmed(keeper.process.pid), pipes(count) as fds:
        answer = answer_of(keeper.channel, request, fds)
        if isinstance(made := answer.get("ok"), dict) and "name" in made:
            keeper.call("close", box=made["name"])

    assert keeper.process.poll() is None


def frame(data: bytes, claimed: int | None = None) -> bytes:
    return struct.pack("!I", len(data) if claimed is None else claimed) + data


broken = st.one_of(
    st.binary(max_size=64),
    st.builds(frame, st.binary(max_size=40)),
    st.builds(frame, json_values.map(lambda value: json.dumps(value).encode())),
    st.builds(frame, st.just(b'{"do": "hello", "path": []}'), st.integers(0, (1 << 32) - 1)),
    damaged_bytes(st.just(frame(b'{"do": "start", "name": "web"}'))),
    st.just(frame(b"[" * 100_000)),
)


@given(broken)
@examples(25)
def test_a_keeper_that_is_told_nonsense_ends_and_takes_everything_back(data: bytes) -> None:
    keeper = RemoteKeeper()
    with in_time():
        with suppress(GoneError), Sandbox("nonsense", keeper=keeper) as box:
            agent = box.pid
            keeper.channel._socket.sendall(data)
            keeper.channel.hang_up()
        assert keeper.process.wait() == 0
    assert not Path(f"/proc/{agent}").exists()
    assert not Path(f"/run/scratchlab/{box.name}.journal").exists()


# -- the agent --------------------------------------------------------------------------------------------------------


def channel_of(box: Sandbox) -> Channel:
    assert box._channel is not None
    return box._channel


def settled(box: Sandbox) -> int:
    """The pid of an agent that has closed what it was born with."""
    box.kill(0, 0)  # no command of that number runs: nothing but an answer
    return box.pid


words = st.lists(st.sampled_from(["true", "/nowhere/true", "", "a\0b", "\ud800"]) | json_values, max_size=3)
stage = st.just({"name": "unshare_uts"}) | junk
step = st.fixed_dictionaries({}, optional={"stage": stage, "args": st.just([]) | junk, "kwargs": st.just({}) | junk})
bodies = st.fixed_dictionaries(
    {},
    optional={
        "do": st.sampled_from(["inside", "run", "kill"]) | junk, "argv": words | junk, "env": st.just({}) | junk,
        "cwd": st.sampled_from([None, "/", "/nowhere"]) | junk, "tty": st.just([24, 80]) | junk, "ledger": st.booleans(),
        "pid": junk, "signal": junk, "number": junk, "steps": st.lists(step, max_size=3) | junk,
    },
)  # fmt: skip


@given(bodies, st.integers(0, 12))
@examples(300)
def test_an_agent_answers_anything_and_is_as_before(keeper: RemoteKeeper, body: dict[str, Any], count: int) -> None:
    with Sandbox("wire", keeper=keeper) as box:
        with in_time(), unharmed(settled(box)), pipes(count) as fds:
            answer_of(channel_of(box), body, fds)
        assert box.run("echo", "alive").out == "alive"


@given(broken)
@examples(60)
def test_an_agent_that_is_told_nonsense_ends_and_the_keeper_does_not_mind(keeper: RemoteKeeper, data: bytes) -> None:
    with in_time(), unharmed(keeper.process.pid):
        box = Sandbox("wire", keeper=keeper)
        channel_of(box)._socket.sendall(data)
        box.close()

    assert keeper.process.poll() is None


def test_a_request_that_nobody_knows_leaves_none_of_its_files_open(sandbox: Sandbox) -> None:
    with unharmed(settled(sandbox)), pipes(3) as fds:
        for body in ({}, {"do": "fly"}, {"do": []}, {"do": "run", "argv": ["true"], "env": {}, "cwd": None, "tty": "wide"}):
            answer_of(channel_of(sandbox), body, fds)


def test_a_channel_that_nobody_understands_is_closed() -> None:
    for data in (frame(b"[]"), frame(b"\xff"), frame(b"", 1 << 31), frame(b"[" * 100_000)):
        raw, end = socket.socketpair()
        channel = Channel(end)
        raw.sendall(data)
        with pytest.raises(GoneError, match="not our protocol"):
            channel.receive()
        assert not channel.is_open
        raw.close()


@given(st.sampled_from([StageError("no", "so"), stages.step(stages.hostname, "x")]), json_values)
@examples(100)
def test_an_error_comes_back_as_an_error_of_ours_whatever_was_sent(error: object, value: object) -> None:
    data = to_wire(error) if isinstance(error, StageError) else value

    assert isinstance(outcome(from_wire, data), ScratchlabError)
