"""A page for each stage: what you get, in four notations, what it changes, which attack it stops, its source."""

import inspect
from collections.abc import Callable
from importlib import import_module
from itertools import groupby
from typing import Any

from scratchlab import attacks
from scratchlab.attacks import ATTACKS
from scratchlab.stages import STAGES, about
from scratchlab.views.notations import Shown, show
from tools.pages import lessons, measured
from tools.pages.demonstrations import NOT_HERE
from tools.pages.markdown import fenced, page, table
from tools.pages.source import described, first_line

Stage = Callable[..., Any]

SIDES = {
    "inside": "inside: in the process that is being isolated",
    "outside": "outside: the host does it to the process",
}
KINDS = {"mnt": "mount"}  # a kind of namespace, as its stage calls it


def pages() -> dict[str, str]:
    """The stages, and their table by topic."""
    return {"stages/table.txt": _tables(), **{f"stages/{name}.md": _page(name, stage) for name, stage in STAGES.items()}}


def _tables() -> str:
    parts = []
    for module, stages in groupby(STAGES.items(), key=lambda item: item[1].__module__):
        rows = [(f"[`{name}`]({name}.md)", about(stage).side, first_line(stage)) for name, stage in stages]
        parts += [f"## {module.rpartition('.')[2]}", first_line(import_module(module))]
        parts += [table(("stage", "runs", "what you get"), rows)]
    return page(*parts)


def _page(name: str, stage: Stage) -> str:
    shown = show(stage)
    return page(
        f"# {name}",
        "```{py:currentmodule} scratchlab.stages\n```",
        described(name, stage),
        table(("", ""), _facts(name, stage)),
        "## In four notations",
        _notations(stage, shown),
        "## What it changes",
        *_changes(name),
        "## Which attack it stops",
        _stops(name),
        "## Its source",
        f"`{shown_at(stage)}`",
        fenced(shown.source, "python"),
    )


def shown_at(function: Stage) -> str:
    """The file that a function is in, below the checkout."""
    return inspect.unwrap(function).__module__.replace(".", "/") + ".py"


def _facts(name: str, stage: Stage) -> list[tuple[str, str]]:
    known = about(stage)
    first = [f"unshare_{KINDS.get(kind, kind)}" for kind in known.needs]
    rows = [
        ("runs", SIDES[known.side]),
        ("needs before", ", ".join(f"[`{each}`]({each}.md)" for each in first)),
        ("manual pages", ", ".join(known.man)),
        ("lessons", "; ".join(lessons.about(f"stages.{name}"))),
    ]
    return [row for row in rows if row[1]]


def _notations(stage: Stage, shown: Shown) -> str:
    known = about(stage)
    python = f"box.apply(stages.{stage.__name__}{''.join(f', {word}' for word in _parameters(stage))})"
    calls = dict(shown.notations)["calls"]
    rows = [("Python", python), ("system calls", calls), ("shell", known.shell), ("engine", known.engine)]
    return table(("in the words of", "it is"), [(name, f"`{words}`") for name, words in rows if words])


def _parameters(stage: Stage) -> list[str]:
    """What must be given, by name; the host fills in the target of an outside stage."""
    parameters = list(inspect.signature(stage).parameters.values())[1 if about(stage).side == "outside" else 0 :]
    return [each.name for each in parameters if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD]


def _changes(name: str) -> list[str]:
    texts = measured.stored(name)
    if not texts:
        return [f"Not measured yet: it needs {NOT_HERE[name]}, which the machine that measures for these pages does not have."]
    versions = {"v1": "With control groups of version 1:", "v2": "With control groups of version 2:"}
    parts = ["Measured, and measured again by the tests. What differs from run to run is a symbol: PID, N."]
    for version, text in texts.items():
        parts += [versions.get(version, ""), fenced(text)]
    return parts


def _stops(name: str) -> str:
    alone = [f"- [{attack}](../attacks/{attack}.md)" for attack, one in ATTACKS.items() if name in attacks.about(one).stopped_by]
    also = [f"- [{attack}](../attacks/{attack}.md)" for attack, one in ATTACKS.items() if name in attacks.about(one).also]
    parts = ["It is enough against each of these:\n\n" + "\n".join(alone)] if alone else []
    parts += ["It is not in the default container; there, it would be enough against:\n\n" + "\n".join(also)] if also else []
    return "\n\n".join(parts) or "None of those that Scratchlab has. What it is for is said above."
