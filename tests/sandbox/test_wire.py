"""The conversation between client, keeper and agent."""

import os
import socket
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchlab.errors import GoneError, KernelError, SandboxError, StageError, from_wire, to_wire
from scratchlab.sandbox.wire import Channel

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(st.dictionaries(st.text(), json_values))
@settings(max_examples=50, deadline=None)
def test_whatever_json_is_sent_arrives(body):
    one, other = Channel.pair()

    one.send(body)

    assert other.receive().body == body
    one.close(), other.close()


def test_file_descriptors_ride_along_and_are_not_inherited_by_commands():
    one, other = Channel.pair()
    reader, writer = os.pipe()

    one.send({}, [writer])
    os.close(writer)
    (got,) = other.receive().fds
    os.write(got, b"through")

    assert os.read(reader, 100) == b"through"
    assert not os.get_inheritable(got)
    for fd in (reader, got):
        os.close(fd)


def test_a_message_of_ten_megabytes_passes_between_two_processes():
    one, other = Channel.pair()
    pid = os.fork()
    if pid == 0:
        one.send({"text": "x" * 10_000_000})
        os._exit(0)

    assert len(other.receive().body["text"]) == 10_000_000
    os.waitpid(pid, 0)


def test_the_kernel_says_who_sent_a_message():
    one, other = Channel.pair()
    pid = os.fork()
    if pid == 0:
        one.send({})
        os._exit(0)

    assert other.receive().pid == pid
    os.waitpid(pid, 0)


def test_a_hang_up_is_an_error_of_ours_and_not_a_hang():
    one, other = Channel.pair()
    one.close()

    with pytest.raises(SandboxError, match="died"):
        other.receive()
    with pytest.raises(SandboxError, match="died"):
        other.send({})


def test_nobody_is_heard_by_a_channel_that_was_closed_at_either_end():
    (one, other), (left, right) = Channel.pair(), Channel.pair()
    assert one.is_heard and left.is_heard

    one.close()
    right.close()

    assert not one.is_heard and not left.is_heard
    other.close(), left.close()


def test_files_that_nobody_asked_for_are_closed():
    ours, theirs = Channel.pair()
    before = len(os.listdir("/proc/self/fd"))
    theirs.send({"ok": None, "number": 77}, [0, 1, 2])
    theirs.send({"error": {"kind": "GoneError", "message": "no", "hint": ""}, "number": 1}, [0, 1, 2])

    with pytest.raises(GoneError, match="no"):
        ours.ask({})

    assert len(os.listdir("/proc/self/fd")) == before


@given(st.binary(max_size=64))
@settings(max_examples=200, deadline=None)
def test_bytes_that_are_no_message_of_ours_are_refused_without_harm(data):
    raw, end = socket.socketpair()
    channel = Channel(end)
    raw.sendall(data)
    raw.close()

    with suppress(SandboxError):
        assert isinstance(channel.receive().body, dict)
    channel.close()


@pytest.mark.parametrize(
    "error",
    [KernelError("mount", {"source": '"a"'}, 1, "because"), StageError("no", "do this"), SandboxError("gone")],
)
def test_an_error_is_the_same_after_the_journey(error):
    again = from_wire(to_wire(error))

    assert (type(again), str(again)) == (type(error), str(error))
    assert getattr(again, "errno", None) == getattr(error, "errno", None)
