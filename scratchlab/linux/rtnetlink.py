"""Talking to the kernel's network side: a batch of messages, one send, one answer for each.  netlink(7)

We take pyroute2's message classes and no more of it: its IPRoute needs 200 ms to import, and an event loop of its own,
which a Jupyter kernel does not let it have. One plain socket and the system's own queue do.
"""

import functools
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from scratchlab.errors import HostError, InputError, KernelError
from scratchlab.linux.ledger import Bare, record

# The kernel's numbers, which Python's socket module lacks.  netlink(7), rtnetlink(7)
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
NLMSG_ERROR, NLMSG_DONE, NLMSGERR_ATTR_MSG = 2, 3, 1
RTM = {
    "RTM_NEWLINK": 16, "RTM_DELLINK": 17, "RTM_GETLINK": 18,
    "RTM_NEWADDR": 20, "RTM_GETADDR": 22, "RTM_NEWROUTE": 24, "RTM_GETROUTE": 26,
}  # fmt: skip
CHANGE = NLM_F_REQUEST | NLM_F_ACK
CREATE = CHANGE | NLM_F_CREATE | NLM_F_EXCL

_HEADER = struct.Struct("IHHII")  # struct nlmsghdr: length, type, flags, sequence number, sender


class Message(NamedTuple):
    """One message to the kernel, not encoded yet."""

    name: str  # as in rtnetlink(7): RTM_NEWLINK
    shown: dict[str, Any]  # what the ledger says of it
    fields: dict[str, Any]  # the struct that it starts with
    attributes: list[tuple[str, Any]]
    flags: int = CHANGE


def send(*messages: Message) -> None:
    """Send messages in one system call, and read the kernel's answer to each.  rtnetlink(7)

    The kernel goes on after one that fails. Raises KernelError for the first that did.
    """
    failed = None
    with _open() as kernel:
        answers = _converse(kernel, b"".join(map(_encode, messages)))
        for message in messages:
            try:
                _note(message, answers)
            except KernelError as error:
                failed = failed or error
    if failed:
        raise failed


def get(about: str, fields: dict[str, Any], attributes: list[tuple[str, Any]]) -> Any:
    """One object of a kind: LINK, ADDR or ROUTE. Raises KernelError if there is none."""
    request = Message(f"RTM_GET{about}", {}, fields, attributes, NLM_F_REQUEST)
    with _open() as kernel:
        return _decoded(about, next(_converse(kernel, _encode(request))))


def dump(about: str, fields: dict[str, Any]) -> Iterator[Any]:
    """Every object of a kind, each decoded as far as somebody looks into it."""
    request = Message(f"RTM_GET{about}", {}, fields, [], NLM_F_REQUEST | NLM_F_DUMP)
    with _open() as kernel:
        for answer in _converse(kernel, _encode(request)):
            if _kind(answer) == NLMSG_DONE:
                return
            yield _decoded(about, answer)


# -- on the wire ------------------------------------------------------------------------------------------------------


def _open() -> socket.socket:
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
        kernel.setsockopt(SOL_NETLINK, option, 1)
    return kernel


def _converse(kernel: socket.socket, data: bytes) -> Iterator[bytes]:
    """Send, then yield the messages that come back, for as long as somebody wants more."""
    kernel.sendto(data, (0, 0))
    while True:
        received = kernel.recv(1 << 16)
        while received:
            (length,) = struct.unpack_from("I", received)
            yield received[:length]
            received = received[(length + 3) & ~3 :]


def _note(message: Message, answers: Iterator[bytes]) -> None:
    """Have one answer in the ledger, under the message that it answers."""
    words = ""

    def act() -> None:
        nonlocal words
        code, words = verdict(next(answers))
        if code:
            raise OSError(code, message.name)

    try:
        record("sendmsg", {"message": Bare(message.name), **message.shown}, act)
    except KernelError as error:
        if words:
            hint = f"the kernel says: {words}" + (f"; {error.hint}" if error.hint else "")
            raise KernelError(error.call, error.arguments, error.errno or 0, hint) from None
        raise


def verdict(answer: bytes) -> tuple[int, str]:
    """The errno in a struct nlmsgerr, 0 for success, and the sentence that the kernel adds to some errors."""
    if len(answer) < _HEADER.size + 4:
        raise InputError(f"not an answer of netlink(7): {answer!r}")
    (code,) = struct.unpack_from("i", answer, _HEADER.size)
    at = _HEADER.size + 4 + _HEADER.size  # after the code comes the header that we sent, then attributes
    while at + 4 <= len(answer):
        length, kind = struct.unpack_from("HH", answer, at)
        if kind == NLMSGERR_ATTR_MSG:
            return -code, answer[at + 4 : at + length].rstrip(b"\0").decode(errors="replace")
        at += max(4, (length + 3) & ~3)
    return -code, ""


def _kind(answer: bytes) -> int:
    kind: int = struct.unpack_from("H", answer, 4)[0]
    return kind


def _encode(message: Message) -> bytes:
    encoded = classes()[message.name[7:]]()
    encoded.update(message.fields)
    encoded["attrs"] = list(message.attributes)
    encoded["header"].update(type=RTM[message.name], flags=message.flags)
    try:
        encoded.encode()
    except (struct.error, TypeError, ValueError, AttributeError, OSError) as error:
        raise InputError(f"{message.name} {message.shown} cannot be told to the kernel: {error}") from None
    return bytes(encoded.data)


def _decoded(about: str, answer: bytes) -> Any:
    if _kind(answer) == NLMSG_ERROR:
        raise KernelError("sendmsg", {"message": f"RTM_GET{about}"}, *verdict(answer))
    decoded = classes()[about](answer)
    decoded.decode()
    return decoded


# -- pyroute2 ---------------------------------------------------------------------------------------------------------


@functools.cache
def classes() -> Mapping[str, Any]:
    """pyroute2's message classes, by what they are about.

    Any import from pyroute2 imports all of it, 200 ms. So a bare package takes its name for the time of this import, which
    needs 20. Then its modules are forgotten again: the user's own `import pyroute2` must find nothing half-made of ours.
    """
    if "pyroute2" in sys.modules:
        return _import_classes()
    from importlib.util import find_spec, module_from_spec

    spec = find_spec("pyroute2")
    if spec is None:
        raise HostError("the Python package pyroute2 is not installed", "python -m pip install pyroute2")
    sys.modules["pyroute2"] = module_from_spec(spec)  # knows where its modules are, and has not run its __init__
    try:
        return _import_classes()
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "pyroute2"]:
            del sys.modules[name]


def _import_classes() -> Mapping[str, Any]:
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

    return {"LINK": ifinfmsg, "ADDR": ifaddrmsg, "ROUTE": rtmsg}
