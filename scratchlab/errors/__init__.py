"""Every exception that Scratchlab raises on purpose.

    ScratchlabError             says what was asked, what was found, and what to do next
    ├── KernelError (OSError)   a system call failed; the message names the call and its arguments
    ├── StageError              a stage cannot be applied to this process: what it needs first
    ├── InputError (ValueError) what was given cannot be right; the command line exits with 2
    ├── HostError               this machine lacks something: a program, a privilege, a free subnet
    └── SandboxError            a sandbox cannot do what was asked, or not any more
        └── GoneError           the process at the other end has died

A `KernelError` looks for the cause at the moment of failure, in the process that failed, because a
second later, or from the outside, the facts may be different: `causes/` has a finder for each. `explain` says the same of
any OSError. `rootfs/check.py` has three kinds of InputError of its own, for a command that is not found (127) or not
executable (126).
"""

import errno as errno_names
import os
from collections.abc import Mapping
from typing import Any


class ScratchlabError(Exception):
    """`message` says what was asked and what was found; `hint`, what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it: the message. The way through our code, to where a kernel refused, explains nothing."""
        return [f"{type(self).__name__}: {self}"]


class StageError(ScratchlabError):
    """A stage cannot be applied to this process, or not yet."""


class InputError(ScratchlabError, ValueError):
    """What was given cannot be right."""


class HostError(ScratchlabError):
    """This machine lacks what was asked for."""


class SandboxError(ScratchlabError):
    """A sandbox cannot do what was asked, or not any more."""


class GoneError(SandboxError):
    """The process at the other end, an agent or a keeper, has died."""


class KernelError(ScratchlabError, OSError):
    """The system call `call` failed with `errno`; `hint` is the cause found in live facts, if any."""

    def __init__(self, call: str, arguments: Mapping[str, str], errno: int, hint: str | None = None) -> None:
        symbol = self.symbol(errno)
        cause = _cause(call, symbol, arguments) if hint is None else hint
        super().__init__(f"{written(call, arguments)}: {os.strerror(errno)} ({symbol})", cause)
        self.call = call
        self.arguments = dict(arguments)
        # OSError keeps these two for `except OSError as e: e.errno`.
        self.errno = errno
        self.strerror = os.strerror(errno)

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are pickled with the arguments of their base, which here is one text instead of our four.
        return type(self), (self.call, self.arguments, self.errno, self.hint)

    @staticmethod
    def symbol(errno: int) -> str:
        """EPERM for 1: the name that manual pages use.  errno(3)"""
        return errno_names.errorcode.get(errno, str(errno))


def written(call: str, arguments: Mapping[str, str]) -> str:
    """A call as a C programmer would write it, but with its arguments by name."""
    return f"{call}({', '.join(f'{name}={value}' for name, value in arguments.items())})"


def _cause(call: str, symbol: str, arguments: Mapping[str, str]) -> str:
    try:
        # Only now: where nothing fails, nobody waits for this. Agents have it already, see keep_causes.
        from scratchlab.errors import causes
    except ImportError:
        return ""  # after `pivot`, in a process of somebody else's
    return str(causes.find(call, symbol, arguments) or "")


def keep_causes() -> None:
    """Import what looks for causes, as long as it can be found: after `pivot` Python's own files are gone."""
    from scratchlab.errors import causes  # noqa: F401


# -- errors travel between processes as plain data --------------------------------------------------------------------


def to_wire(error: BaseException) -> dict[str, Any]:
    """What another process needs to raise the same error again."""
    if isinstance(error, KernelError):
        return {"kind": "KernelError", "call": error.call, "arguments": error.arguments, "errno": error.errno, "hint": error.hint}
    if isinstance(error, ScratchlabError):
        return {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    return {"kind": "SandboxError", "message": f"{type(error).__name__}: {error}", "hint": ""}


def from_wire(data: object) -> ScratchlabError:
    """The error that `to_wire` took apart; for anything else that came, one that says so."""
    plain: list[type[ScratchlabError]] = [StageError, InputError, HostError, SandboxError, GoneError]
    kinds = {kind.__name__: kind for kind in plain}
    match data:
        case {"kind": "KernelError", "call": str(call), "arguments": dict(arguments), "errno": int(number), "hint": str(hint)}:
            shown = {str(name): str(value) for name, value in arguments.items()}
            return KernelError(call, shown, number if 0 <= number < 4096 else 0, hint)  # MAX_ERRNO of the kernel
        case {"kind": str(kind), "message": str(message), "hint": str(hint)}:
            return kinds.get(kind, ScratchlabError)(message, hint)
    return SandboxError("an error came back that cannot be read", "make a new Sandbox: something speaks in our agent's place")
