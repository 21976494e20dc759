"""Is what was given what a function takes? Its type hints say so, before it travels to a process that can only say TypeError."""

import collections.abc
import os
import types
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from scratchlab.errors import InputError


def check_arguments(
    name: str, function: Callable[..., Any], args: Iterable[Any], kwargs: Mapping[str, Any], skip: int = 0
) -> None:
    """Raise InputError unless `function` can be called like this. Its first `skip` parameters are filled in by somebody else."""
    import inspect

    signature = inspect.signature(function)
    signature = signature.replace(parameters=list(signature.parameters.values())[skip:])
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InputError(f"{name}: {error}", f"it is {name}{signature.replace(return_annotation=signature.empty)}") from None
    hints = _hints(function)
    for parameter, value in bound.arguments.items():
        kind = signature.parameters[parameter].kind
        several = value if kind is kind.VAR_POSITIONAL else value.values() if kind is kind.VAR_KEYWORD else [value]
        for each in several:
            check_value(f"{name}: {parameter}", each, hints.get(parameter, Any))


def check_fields(row: Any) -> None:
    """Raise InputError unless each field of a NamedTuple or dataclass is what its class says."""
    for field, hint in _hints(row.__class__).items():
        check_value(field, getattr(row, field), hint)


def check_value(what: str, value: object, hint: Any) -> None:
    """Raise InputError unless `value` is of the type `hint`, and can be told to the kernel."""
    if not _fits(value, hint):
        raise InputError(f"{what}: {_short(value)} is not {_words(hint)}")
    for part in _parts(value):
        if isinstance(part, str) and _unspeakable(part):
            raise InputError(f"{what}: {_short(part)} holds a NUL or half a character", "no path and no name of the kernel can")
        if isinstance(part, int) and not -(1 << 63) <= part < 1 << 64:
            raise InputError(f"{what}: {_short(part)} has more than 64 bits", "no number of the kernel has")


@lru_cache(maxsize=256)
def _hints(function: Hashable) -> dict[str, Any]:
    return get_type_hints(function)


def _fits(value: object, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in inner)
    if hint is Any or origin is None:
        return _is(value, hint)
    if isinstance(value, str | bytes) or not isinstance(value, origin):  # text is a sequence too, of letters: never what is meant
        return False
    if issubclass(origin, collections.abc.Mapping):
        assert isinstance(value, Mapping)
        return all(_fits(key, inner[0]) and _fits(each, inner[1]) for key, each in value.items())
    return _all_fit(value, tuple(each for each in inner if each is not ...), inner[-1] is ... or origin is not tuple)


def _all_fit(value: Any, inner: tuple[Any, ...], any_length: bool) -> bool:
    if any_length:
        return all(_fits(each, inner[0]) for each in value)
    return len(value) == len(inner) and all(map(_fits, value, inner))


def _is(value: object, hint: Any) -> bool:
    if hint is Any:
        return True
    if isinstance(value, bool):
        return hint is bool  # Python's True is a number, but nobody means one by it
    if hint is float:
        return isinstance(value, int | float)
    if not isinstance(value, types.NoneType if hint is None else hint):
        return False
    return not isinstance(value, tuple) or all(map(_fits, value, _hints(type(value)).values()))  # a NamedTuple, to its last field


def _words(hint: Any) -> str:
    """A type hint for people: `int | str`."""
    return hint.__name__ if isinstance(hint, type) and get_origin(hint) is None else str(hint).replace("collections.abc.", "")


def _short(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # more digits than Python writes down
        text = "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:90]}…"


def _parts(value: object) -> Iterable[object]:
    """A value, or all that is in it."""
    if isinstance(value, Mapping):
        value = [each for pair in value.items() for each in pair]
    if isinstance(value, list | tuple | set | frozenset):
        yield from (part for each in value for part in _parts(each))
    else:
        yield value


def _unspeakable(text: str) -> bool:
    try:
        return b"\0" in os.fsencode(text)
    except UnicodeEncodeError:
        return True
