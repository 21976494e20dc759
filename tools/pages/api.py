"""A page for each part of the library: what its docstring says, and its public names with theirs."""

import inspect
import pkgutil
from importlib import import_module
from types import ModuleType
from typing import Any

import scratchlab
from scratchlab.attacks import ATTACKS
from scratchlab.stages import STAGES
from tools.pages.markdown import page, table
from tools.pages.source import described, first_line, prose


def pages() -> dict[str, str]:
    """The parts, and their tables."""
    parts = {name: import_module(f"scratchlab.{name}") for _, name, _ in pkgutil.iter_modules(scratchlab.__path__)}
    parts = {name: module for name, module in parts.items() if name != "__main__" and _names(module)}
    public = [(f"{{py:obj}}`{_home(name)}`", first_line(getattr(scratchlab, name))) for name in dir(scratchlab)]
    rows = [(f"[`{name}`]({name}.md)", first_line(module)) for name, module in parts.items()]
    return {
        "api/names.txt": table(("name", "what it is"), public) + "\n",
        "api/parts.txt": table(("part", "what it is"), rows) + "\n",
        **{f"api/{name}.md": _page(module) for name, module in parts.items()},
    }


def _home(name: str) -> str:
    """Where a public name is described: in the part that it is defined in."""
    thing = getattr(scratchlab, name)
    return thing.__name__ if inspect.ismodule(thing) else f"{_part(thing)}.{name}"


def _part(thing: Any) -> str:
    """The part that something is defined in; "" for plain data, and for what is only another name of a type of Python's."""
    parts = str(getattr(thing, "__module__", "")).split(".")
    return ".".join(parts[:2]) if parts[0] == scratchlab.__name__ else ""


def _page(module: ModuleType) -> str:
    names = _names(module)
    own = {name: thing for name, thing in names.items() if _part(thing) in (module.__name__, "") and not _has_page(thing)}
    others = [f"{{py:obj}}`{_part(thing)}.{name}`" for name, thing in names.items() if name not in own and not _has_page(thing)]
    apart = [title for title, table in _APART.items() if module.__name__.endswith(title)]
    return page(
        f"# {module.__name__.partition('.')[2]}",
        f"```{{py:module}} {module.__name__}\n```",
        prose(module),
        f"Each of the [{apart[0]}](../{apart[0]}/index.md) has a page of its own." if apart else "",
        f"Also here: {', '.join(others)}." if others else "",
        *(described(name, thing) for name, thing in own.items()),
    )


_APART: dict[str, dict[str, Any]] = {"stages": STAGES, "attacks": ATTACKS}


def _has_page(thing: Any) -> bool:
    return any(thing is each for table in _APART.values() for each in table.values())


def _names(module: ModuleType) -> dict[str, Any]:
    """The public names of a part: what it lists, or else what is defined in it; and what of it is a name of `scratchlab`."""
    defined = [name for name, thing in vars(module).items() if getattr(thing, "__module__", None) == module.__name__]
    names = {name: getattr(module, name) for name in getattr(module, "__all__", defined) if not name.startswith("_")}
    names |= {name: getattr(scratchlab, name) for name in dir(scratchlab) if _home(name) == f"{module.__name__}.{name}"}
    return {name: thing for name, thing in names.items() if not inspect.ismodule(thing)}
