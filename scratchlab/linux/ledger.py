"""The ledger: the system calls that a step really made, with arguments by name, result and time."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum, IntFlag
from typing import NamedTuple, TypeVar

from scratchlab.errors import InputError, KernelError, ScratchlabError

Result = TypeVar("Result")


class Call(NamedTuple):
    """One system call as it was made."""

    name: str
    arguments: dict[str, str]  # by the manual page's names, as text
    result: str  # what it returned, or the errno's symbol
    seconds: float

    def __str__(self) -> str:
        listed = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{self.name}({listed}) = {self.result}"


_open_ledgers: list[list[Call]] = []


@contextmanager
def recording() -> Iterator[list[Call]]:
    """Collect the calls made in this `with` block, in order."""
    calls: list[Call] = []
    _open_ledgers.append(calls)
    try:
        yield calls
    finally:
        # By identity: `remove` would take an outer ledger that happens to hold the same calls so far.
        _open_ledgers[:] = [ledger for ledger in _open_ledgers if ledger is not calls]


def record(name: str, arguments: Mapping[str, object], act: Callable[[], Result]) -> Result:
    """Make one system call by calling `act`: the choke point for the ledger and for errors.

    Raises KernelError where `act` raised OSError.
    """
    start = time.perf_counter()
    try:
        result = act()
    except OSError as error:
        number, seconds = error.errno or 0, time.perf_counter() - start
        shown = _shown(arguments)
        _note(Call(name, shown, KernelError.symbol(number), seconds))
        raise KernelError(name, shown, number) from None
    except ScratchlabError:
        raise
    except (OverflowError, TypeError, ValueError) as error:  # Python's: what does not fit into a C int never gets to the kernel
        raise InputError(f"{name} cannot be called with {', '.join(_shown(arguments).values())}: {error}") from None
    if _open_ledgers:  # writing the arguments down takes longer than most calls
        seconds = time.perf_counter() - start
        _note(Call(name, _shown(arguments), "0" if result is None else render(result), seconds))
    return result


def look(name: str, arguments: Mapping[str, object], act: Callable[[], Result]) -> Result:
    """Make a call that only looks: its errors are those of `record`, but a look is no step, so not in the ledger."""
    global _open_ledgers
    noted, _open_ledgers = _open_ledgers, []
    try:
        return record(name, arguments, act)
    finally:
        _open_ledgers = noted


def _note(call: Call) -> None:
    for calls in _open_ledgers:
        calls.append(call)


def _shown(arguments: Mapping[str, object]) -> dict[str, str]:
    return {key: render(value) for key, value in arguments.items()}


class Bare(str):
    """Text that the ledger shows without quotes: a number that is read in octal or hex."""


def render(value: object) -> str:
    """An argument as a C programmer would write it, but flags by name and without their prefix."""
    if value is None:
        return "NULL"
    if isinstance(value, IntFlag):
        return _render_flags(value)
    if isinstance(value, IntEnum):
        return value.name
    if isinstance(value, str) and not isinstance(value, Bare):
        return '"' + value.replace("\n", "\\n") + '"'
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return str(value)


def _render_flags(value: IntFlag) -> str:
    """`RDONLY|NOSUID`, lowest bit first; bits without a name as one hexadecimal number at the end."""
    named = [flag for flag in type(value) if flag in value]
    words = [str(flag.name) for flag in named]
    if rest := int(value) & ~sum(named):
        words.append(hex(rest))
    return "|".join(words) or "0"
