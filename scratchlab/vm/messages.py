"""Jupyter's messages on the wire, made and read without the weight of a client library: frames, with a signature.

[identities…] <IDS|MSG> signature header parent metadata content [buffers…]
"""

import hashlib
import hmac
import json
import secrets
from datetime import UTC, datetime
from typing import Any, NamedTuple

DELIMITER = b"<IDS|MSG>"
_NOTHING: dict[str, Any] = {}

Frames = list[bytes]


class Request(NamedTuple):
    """A message of which we know who sent it and what it wants."""

    channel: str
    frames: Frames
    identities: Frames
    header: dict[str, Any]

    @property
    def kind(self) -> str:
        """Such as execute_request."""
        return str(self.header.get("msg_type", ""))

    @property
    def number(self) -> str:
        """What its reply will name."""
        return str(self.header.get("msg_id", ""))


def read(channel: str, frames: Frames) -> Request | None:
    """A request out of its frames; None for what is none of Jupyter's."""
    try:
        delimiter = frames.index(DELIMITER)
        return Request(channel, frames, frames[:delimiter], dict(json.loads(frames[delimiter + 2])))
    except (ValueError, IndexError, TypeError):
        return None


def part(frames: Frames, number: int) -> dict[str, Any]:
    """The header (0), the parent's header (1) or the content (3) of a message; {} if it cannot be read."""
    try:
        return dict(json.loads(frames[frames.index(DELIMITER) + 2 + number]))
    except (ValueError, IndexError, TypeError):
        return {}


class Writer:
    """Makes messages that Jupyter believes, since they are signed with the connection's key."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()
        self._session = secrets.token_hex(16)

    def frames(self, kind: str, content: dict[str, Any], parent: dict[str, Any] = _NOTHING) -> Frames:
        """All of a message but who it is for."""
        header = {
            "msg_id": secrets.token_hex(16), "msg_type": kind, "session": self._session, "username": "scratchlab",
            "date": datetime.now(UTC).isoformat(), "version": "5.3",
        }  # fmt: skip
        parts = [json.dumps(piece).encode() for piece in (header, parent, {}, content)]
        return [DELIMITER, self.signature(parts), *parts]

    def is_genuine(self, request: Request) -> bool:
        """Whether whoever sent it knows the key."""
        signature, *parts = request.frames[len(request.identities) + 1 :][:5]
        return hmac.compare_digest(signature, self.signature(parts))

    def signature(self, parts: Frames) -> bytes:
        """What proves that a message is from somebody who knows the key."""
        if not self._key:
            return b""
        return hmac.new(self._key, b"".join(parts), hashlib.sha256).hexdigest().encode()
