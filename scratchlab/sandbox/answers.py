"""What comes back from a sandbox, looked at before it is believed: what is inside may lie, and must not harm who asked."""

import json
from typing import Any, NamedTuple

from scratchlab.errors import SandboxError, ScratchlabError, from_wire
from scratchlab.linux.ledger import Call
from scratchlab.sandbox.wire import Message, close_all

_RESULT = {"value", "calls", "printed", "seconds"}
_LAST_SIGNAL = 64  # of Linux.  signal(7)


class Results(NamedTuple):
    """What became of some steps: results, and the error of the first that failed."""

    done: list[dict[str, Any]]
    error: ScratchlabError | None


def results(body: dict[str, Any], asked: int) -> Results:
    """Read the answer to `asked` steps. Raises SandboxError for what is no such answer."""
    error = from_wire(body["error"]) if "error" in body else None
    done = body.get("done") if error else body.get("ok")
    if not isinstance(done, list) or not all(map(_is_result, done)):
        raise _not_ours("the results of some steps", done)
    if len(done) >= asked if error else len(done) != asked:
        raise _not_ours(f"the results of {asked} steps", done)
    return Results(done, error)


def _is_result(row: Any) -> bool:
    if not isinstance(row, dict) or row.keys() != _RESULT or not isinstance(row["calls"], list):
        return False
    return isinstance(row["printed"], str) and isinstance(row["seconds"], int | float) and all(map(_is_call, row["calls"]))


def _is_call(row: Any) -> bool:
    if not isinstance(row, dict) or row.keys() != set(Call._fields) or not isinstance(row["arguments"], dict):
        return False
    words = [row["name"], row["result"], *row["arguments"].values()]
    return all(isinstance(word, str) for word in words) and isinstance(row["seconds"], int | float)


def pid_of(answer: Message, files: int = 0) -> int:
    """The pid of a command that was started. Raises SandboxError for what is no such answer, or lacks its files."""
    match answer.body.get("ok"):
        case {"pid": int(pid)} if len(answer.fds) >= files:
            close_all(answer.fds[files:])
            return pid
        case other:
            close_all(answer.fds)
            raise _not_ours("the pid of a command", other)


def ending_of(line: bytes) -> dict[str, int] | None:
    """How a command ended, or None if it was only stopped. Raises SandboxError for what says neither."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        said = None
    match said:
        case {"exit": int(status)} if 0 <= status < 256:
            return {"exit": status}
        case {"signal": int(number)} if 0 < number <= _LAST_SIGNAL:
            return {"signal": number}
        case {"stopped": _}:
            return None
    raise _not_ours("how a command ended", line)


def _not_ours(what: str, said: object) -> SandboxError:
    shown = repr(said)
    return SandboxError(
        f"the sandbox was asked for {what}, and answered {shown if len(shown) < 100 else shown[:90] + '…'}",
        "something in it speaks in our agent's place: make a new Sandbox",
    )
