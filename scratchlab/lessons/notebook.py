"""Notebooks as data: one form for what is stored, and the learner's version, in which nothing is given away.

A notebook is the JSON that nbformat(5) describes. What differs from run to run without meaning anything is not kept.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

Notebook = dict[str, Any]
Cell = dict[str, Any]

SOLUTION = "solution"  # the tag of a cell that gives an exercise's answer away

# The kernels of a notebook: whoever proves a lesson says in which one; a learner's copy asks for a machine of its own.
PLAIN = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
ROOT_VM = {"display_name": "Scratchlab (root VM)", "language": "python", "name": "scratchlab"}

_WIDGET = "application/vnd.jupyter.widget-view+json"


def stored(notebook: Notebook, kernel: dict[str, str] = PLAIN) -> str:
    """A notebook as it is kept: the same text for the same cells and outputs, whoever ran it and when."""
    cells, count = [], 0
    for number, cell in enumerate(notebook["cells"]):
        count += cell["cell_type"] == "code"
        cells.append(_cell(cell, number, count))
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    whole = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _cell(cell: Cell, number: int, count: int) -> Cell:
    kept = {
        "cell_type": cell["cell_type"],
        "id": f"c{number:03}",
        "metadata": {},
        "source": _lines(_text(cell["source"]).strip("\n")),
    }
    if found := tags(cell):
        kept["metadata"] = {"tags": found}
    if cell["cell_type"] == "code":
        kept["execution_count"] = None if cell.get("execution_count") is None else count
        kept["outputs"] = [_output(output, kept["execution_count"]) for output in _merged(cell.get("outputs", []))]
    return kept


def _merged(outputs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs in which a stream that came in pieces is one: where it was cut is an accident."""
    whole: list[dict[str, Any]] = []
    for output in outputs:
        if output["output_type"] == "stream" and whole and whole[-1].get("name") == output["name"]:
            whole[-1] = {**whole[-1], "text": _text(whole[-1]["text"]) + _text(output["text"])}
        else:
            whole.append(output)
    return whole


def _output(output: dict[str, Any], count: int | None) -> dict[str, Any]:
    kind = output["output_type"]
    if kind == "stream":
        return {"name": output["name"], "output_type": kind, "text": _lines(_text(output["text"]))}
    if kind == "error":
        return {key: output[key] for key in ("ename", "evalue", "output_type", "traceback")}
    # A widget lives in the kernel that made it, which gives it a new number each time: the picture beside it is what stays.
    data = {
        key: value if key.endswith("json") else _lines(_text(value)) for key, value in output["data"].items() if key != _WIDGET
    }
    return {"data": data, "metadata": {}, "output_type": kind} | ({"execution_count": count} if kind == "execute_result" else {})


def sanitized(text: str, rules: str) -> str:
    """A text as nbval compares it, by the rules of a file such as notebooks/sanitize.cfg."""
    for pattern, replacement in re.findall(r"^regex: (.*)\nreplace: (.*)$", rules, re.MULTILINE):
        text = re.sub(pattern, replacement, text)
    return text


def students(notebook: Notebook) -> Notebook:
    """The learner's version: no outputs, because they are predicted first, and no cell that holds a solution."""
    kept = [cell for cell in notebook["cells"] if SOLUTION not in tags(cell)]
    bare = [{**cell, "outputs": [], "execution_count": None} if cell["cell_type"] == "code" else cell for cell in kept]
    return {**notebook, "cells": bare}


def tags(cell: Cell) -> list[str]:
    """The tags of a cell."""
    return list(cell.get("metadata", {}).get("tags", []))


def source(cell: Cell) -> str:
    """What a cell says."""
    return _text(cell["source"])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "".join(value)


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)
