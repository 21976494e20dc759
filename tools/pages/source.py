"""The library as it is written: signatures, docstrings and fields, from the source and not from what became of it."""

import ast
import enum
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from typing import Any

from tools.pages.markdown import fenced, page

Function = ast.FunctionDef | ast.AsyncFunctionDef

_FILLED_IN = re.compile(r"self|cls|target: Target")  # first parameters that nobody gives


def first_line(thing: object) -> str:
    """The first line of a docstring: what it is, or what you get."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def prose(thing: object) -> str:
    """The whole docstring."""
    return inspect.getdoc(thing) or ""


def described(name: str, thing: Any) -> str:
    """A public name of the current module with its signature and docstring, where the index and other pages find it."""
    if inspect.isclass(thing):
        kind, text = "exception" if issubclass(thing, BaseException) else "class", _class(thing)
    elif callable(thing):
        kind, text = "function", prose(thing)
    else:
        return directive("data", name, f"A `{type(thing).__name__}`.")
    return directive(kind, f"{name}{signature(thing)}", text)


def directive(kind: str, title: str, text: str, **options: str) -> str:
    """A directive of Sphinx's Python domain; its fence is longer than any in the text."""
    longest = max((len(found) for found in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    lines = [f":{key}: {value}".rstrip() for key, value in options.items() if value]
    return "\n".join([f"{fence}{{py:{kind}}} {title}", *lines, "", text, fence])


def _class(thing: type) -> str:
    """A class's docstring, its fields, and its public methods."""
    fields = _fields(thing)
    return page(prose(thing), fenced(fields, "python") if fields else "", *(_member(*each) for each in _members(thing)))


def _members(thing: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that the class itself has and says something about."""
    for key, member in vars(thing).items():
        plain = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if not key.startswith("_") and inspect.isfunction(plain) and plain.__doc__ and plain.__module__ == thing.__module__:
            yield key, member


def _member(key: str, member: Any) -> str:
    if isinstance(member, property):
        node = definition(member.fget)
        returns = ast.unparse(_unquoted(node.returns)) if isinstance(node, Function) and node.returns else ""
        return directive("property", key, prose(member), type=returns)
    plain = getattr(member, "__func__", member)
    kind = {classmethod: "classmethod", staticmethod: "staticmethod"}.get(type(member), "method")
    return directive(kind, f"{key}{signature(plain)}", prose(plain))


def _fields(thing: type) -> str:
    """The fields of a record, or the members of an enumeration, with their comments, as they are written."""
    node = definition(thing)
    record = hasattr(thing, "_fields") or hasattr(thing, "__dataclass_fields__") or issubclass(thing, enum.Enum)
    if not record or not isinstance(node, ast.ClassDef):
        return ""
    lines = textwrap.dedent(inspect.getsource(thing)).splitlines()
    wanted = [each for each in node.body if isinstance(each, ast.AnnAssign | ast.Assign)]
    return "\n".join(textwrap.dedent("\n".join(lines[each.lineno - 1 : each.end_lineno])) for each in wanted)


def signature(thing: Any) -> str:
    """Parameters and result, without a first parameter that is not the caller's to give."""
    node = definition(thing)
    if isinstance(node, ast.ClassDef):
        node = next((each for each in node.body if isinstance(each, Function) and each.name == "__init__"), None)
    if not isinstance(node, Function):
        return ""
    for each in ast.walk(node.args):
        if isinstance(each, ast.arg):
            each.annotation = _unquoted(each.annotation)
    words = ast.unparse(node.args)
    first, _, others = words.partition(", ")
    result = f" -> {ast.unparse(_unquoted(node.returns))}" if node.returns and node.name != "__init__" else ""
    return f"({others if _FILLED_IN.fullmatch(first) else words}){result}"


def _unquoted(annotation: ast.expr | None) -> ast.expr:
    """A type, in quotes or without: those are for Python, where the name comes later."""
    quoted = isinstance(annotation, ast.Constant) and isinstance(annotation.value, str)
    return ast.parse(annotation.value, mode="eval").body if quoted else annotation  # type: ignore[union-attr,return-value]


@cache
def definition(thing: Any) -> ast.AST | None:
    """The `def` or `class` of something; None where it has no source."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(thing)))).body[0]
    except (OSError, TypeError, SyntaxError):
        return None
