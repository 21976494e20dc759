"""`explain(error)`: what was asked, what was found, the cause, and how to confirm it; of any OSError, ours or not.

>>> try:
...     os.mkdir("/nowhere/x")
... except OSError as error:
...     explain(error)
asked      mkdir(path="/nowhere/x")
found      No such file or directory (ENOENT)
cause      /nowhere does not exist, so nothing can be below it: mkdir -p /nowhere
check      namei -l /nowhere/x
read       man 7 path_resolution
"""

import enum
import os
import textwrap
from collections.abc import Callable, Mapping
from typing import NamedTuple

from scratchlab.errors import KernelError, ScratchlabError, written
from scratchlab.errors.cause import Cause
from scratchlab.errors.causes import find
from scratchlab.errors.python_calls import CALLS, Made, made_by

_NUMBERS: dict[str, Callable[[int], str]] = {"mode": oct, "flags": hex}
_UNKNOWN = "not found in what can be seen from here"
_WIDTH = 100

# Calls whose arguments the manual names in another way than the error's two file names could tell.
_FILES = {call: words.split() for call, words in CALLS.values()}


class Explanation(NamedTuple):
    """Why something failed, as far as the facts tell. Empty where there is nothing to say."""

    asked: str  # the call and its arguments
    found: str  # what the kernel answered
    cause: str  # in live facts; says so where it is not known
    check: str  # the command that confirms it
    read: str  # the manual page that says the rule

    def __repr__(self) -> str:
        rows = [(name, value) for name, value in zip(self._fields, self, strict=True) if value]
        return "\n".join(_row(name, value) for name, value in rows)


def _row(name: str, value: str) -> str:
    indent = " " * 11
    # A command is to be copied: it stays on one line.
    lines = [value] if name == "check" else textwrap.wrap(value, _WIDTH - 11, break_long_words=False, break_on_hyphens=False)
    return f"{name:<11}" + f"\n{indent}".join(lines)


def explain(error: BaseException | None = None) -> Explanation:
    """Explain an error: the one given, or the last that a REPL or notebook showed.

    Raises TypeError for what is no error.
    """
    shown = _last() if error is None else error
    if isinstance(shown, KernelError):
        return _explained(shown.call, shown.arguments, shown.errno or 0, Cause.read(shown.hint) if shown.hint else None)
    if isinstance(shown, ScratchlabError):
        return Explanation(shown.message, type(shown).__name__, shown.hint or _UNKNOWN, "", "")
    if isinstance(shown, OSError):
        return _of_python(shown)
    if isinstance(shown, BaseException):
        return Explanation(
            f"{type(shown).__name__}: {shown}", "no system call failed here", "an error of Python's, not the kernel's", "", ""
        )
    raise TypeError(f"explain() takes an error, not {shown!r}: `except OSError as error: explain(error)`")


def _last() -> BaseException:
    import sys

    last: BaseException | None = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    if last is None:
        raise TypeError("no error was shown yet: give one, `except OSError as error: explain(error)`")
    return last


def _explained(call: str, arguments: Mapping[str, str], number: int, cause: Cause | None) -> Explanation:
    page = (cause.page if cause else "") or (f"{call}(2)" if call else "errno(3)")
    name, _, section = page.rstrip(")").partition("(")
    return Explanation(
        asked=written(call, arguments) if call else "a system call that this error does not name",
        found=f"{os.strerror(number)} ({KernelError.symbol(number)})",
        cause=cause.why if cause else _UNKNOWN,
        check=cause.check if cause else "",
        read=f"man {section} {name}",
    )


def _of_python(error: OSError) -> Explanation:
    """An OSError that Python's own functions raised."""
    number = error.errno
    if number is None:
        return Explanation(f"{type(error).__name__}: {error}", "no errno", "raised by a program, not by the kernel", "", "")
    made = made_by(error.__traceback__)
    call = made.call if made else ""
    shown = _asked(error, made)
    cause = find(call, KernelError.symbol(number), shown)
    said = _explained(call, shown, number, cause)
    if call and not shown and _FILES[call]:
        return said._replace(asked=f"{call}(…)")  # without its source, as in a plain REPL, the arguments cannot be told
    if made and not call:
        return said._replace(asked=f"{made.name}(…), which makes system calls that we do not know", read="man 3 errno")
    return said


def as_kernel_error(error: OSError) -> KernelError | None:
    """The system call behind an OSError of Python's, with its arguments and cause; None if it cannot be told."""
    made = made_by(error.__traceback__)
    if error.errno is None or not made or not made.call:
        return None
    return KernelError(made.call, _asked(error, made), error.errno)


def _asked(error: OSError, made: Made | None) -> dict[str, str]:
    arguments = {**(made.arguments if made else {}), **_files(error, made.call if made else "")}
    return {name: _shown(name, value) for name, value in arguments.items()}


def _files(error: OSError, call: str) -> dict[str, object]:
    """The files that the error itself names: it knows them better than the source line, as they were when it happened."""
    names = [word for word in _FILES.get(call, []) if word in ("path", "pathname", "oldpath", "newpath", "target", "linkpath")]
    given = [name for name in (error.filename, error.filename2) if name is not None]
    if not names and given:
        names = ["pathname", "newpath"]
    return dict(zip(names, given, strict=False))


def _shown(name: str, value: object) -> str:
    """As the ledger shows it: text and paths in quotes, modes in octal, flags in hex, constants by name."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, bytes):
        value = os.fsdecode(value)
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, enum.Enum):
        return value.name
    return _NUMBERS.get(name, repr)(value) if isinstance(value, int) else repr(value)
