"""One stage in four notations: as Python, as system calls, as a shell command, as an option of a container engine."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from scratchlab.errors import InputError
from scratchlab.linux.ledger import Call
from scratchlab.sandbox import Applied
from scratchlab.stages.stage import STAGES, about
from scratchlab.views.picture import WIDEST, Picture, table
from scratchlab.views.svg import Drawing, printable, wrapped

_LONGEST = 12  # lines of one call in the drawing
_MODULES = ("linux", "netlink", "nftables", "cgroupfs", "shared")  # where stages get what they do to the kernel


# -- a step as it was done --------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Ledger(Picture):
    """The system calls that a step really made, beside its other notations."""

    step: str
    python: str
    shell: str
    engine: str
    calls: tuple[Call, ...]
    exact: bool = False

    @property
    def title(self) -> str:
        """The step."""
        return self.step

    def lines(self) -> list[str]:
        """The other notations, then the calls in order."""
        count = len(self.calls)
        head = table([(name, words) for name, words in self._notations() if words])
        return [*head, f"{count} system call{'' if count == 1 else 's'}", *(f"  {self._words(call)}" for call in self.calls)]

    def _words(self, call: Call) -> str:
        return str(call) if self.exact else symbolic(str(call))

    def _notations(self) -> tuple[tuple[str, str], ...]:
        return ("python", self.python), ("shell", self.shell), ("engine", self.engine)

    def draw(self, drawing: Drawing) -> None:
        """A box for each notation; in the last one the calls."""
        row = 1.6
        for name, words in self._notations():
            if words:
                row = _draw_row(drawing, row, name, wrapped(words, WIDEST - 12), "shared")
        lines = [line for call in self.calls for line in _broken(self._words(call))]
        _draw_row(drawing, row, "kernel", lines or ["no system call that the ledger keeps"], "own")


def _draw_row(drawing: Drawing, row: float, name: str, lines: Sequence[str], fill: str) -> float:
    """A box with a name and some lines; gives the row below it."""
    height = 0.2 + 1.1 * len(lines)
    drawing.box(0, row, WIDEST, height, fill)
    drawing.text(1, row + 0.1, name, "quiet")
    for number, line in enumerate(lines):
        drawing.text(11, row + 0.1 + 1.1 * number, line)
    return row + height + 0.2


def _broken(call: str) -> list[str]:
    """A call in lines: a long text, such as nft's commands, where it has lines itself. The whole of it is in the text form."""
    lines = [line for part in call.split("\\n") for line in wrapped(part, WIDEST - 12)]
    return lines if len(lines) <= _LONGEST else [*lines[: _LONGEST - 1], "  …"]


# What the kernel, or we by chance, number anew in each run. In this order: a MAC address has digits too.
_NUMBERS = (
    (r"\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b", "MAC"),
    (r'comment "[0-9a-f]{16}"', 'comment "…"'),
    (r"/proc/\d+/", "/proc/PID/"),
    (r'(cgroup\.procs", text)="\d+"', r'\1="PID"'),
    (r"\b(pid|peer_netns)=\d+", r"\1=PID"),
    (r"\b(index|master|fd)=\d+", r"\1=N"),
    (r"^(open\w*\(.*\)) = \d+$", r"\1 = N"),
    (r"veth-[0-9a-f]{10}\b", "veth-…"),
)


def symbolic(text: str) -> str:
    """A call as text without the numbers that differ from run to run."""
    for pattern, words in _NUMBERS:
        text = re.sub(pattern, words, text)
    return text


def ledger(applied: Applied, exact: bool = False) -> Ledger:
    """The system calls of a step, beside its shell and engine form; `exact` keeps pids and MAC addresses."""
    step = applied.step
    name = f"stages.{step.name}" if STAGES.get(step.name) is step.stage else step.name
    words = [name, *map(repr, step.args), *(f"{key}={value!r}" for key, value in step.kwargs.items())]
    stage = about(step.stage)
    return Ledger(repr(step), f"box.apply({', '.join(words)})", stage.shell, stage.engine, applied.calls, exact)


# -- a stage as it is written -----------------------------------------------------------------------------------------


class Shown(NamedTuple):
    """A stage's source, and the same step in other words."""

    name: str
    side: str
    notations: tuple[tuple[str, str], ...]
    source: str

    def _head(self) -> str:
        rows = [(name, words) for name, words in self.notations if words]
        return "\n".join([f"{self.name}: runs {self.side}", *(f"  {line}" for line in table(rows))])

    def __repr__(self) -> str:
        return f"{self._head()}\n\n{self.source}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        # As Markdown, because then the notebook colours the code, for its own theme.
        return {"text/plain": repr(self), "text/markdown": f"{_fenced(self._head())}\n\n{_fenced(self.source, 'python')}\n"}


def _fenced(text: str, language: str = "text") -> str:
    """Text in a code block; its fence is longer than any in the text."""
    longest = max((len(found) for found in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def show(stage: Callable[..., Any]) -> Shown:
    """A stage's own source, with its system calls, its shell and engine form and its manual pages."""
    function = inspect.unwrap(stage) if callable(stage) else stage
    try:
        source = textwrap.dedent(inspect.getsource(function)).rstrip()
    except (OSError, TypeError):
        raise InputError(f"{stage!r} has no source that can be shown", "give a function: show(stages.hostname)") from None
    known = about(stage)
    notations = (
        ("calls", ", ".join(dict.fromkeys(_calls(function, source)))),
        ("shell", known.shell),
        ("engine", known.engine),
        ("manual", ", ".join(known.man)),
    )
    text = "\n".join(printable(line.expandtabs()) for line in source.split("\n"))
    return Shown(getattr(stage, "__name__", str(stage)), known.side, notations, text)


def _calls(function: Callable[..., Any], source: str, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """What a function asks of the kernel, in order: its own calls, and those of its module's private helpers."""
    for node in sorted(_found(source), key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id in _MODULES:
            yield node.func.attr if node.func.value.id == "linux" else f"{node.func.value.id}.{node.func.attr}"
        elif isinstance(node.func, ast.Name) and node.func.id.startswith("_") and node.func.id not in seen:
            helper = getattr(inspect.getmodule(function), node.func.id, None)
            if inspect.isfunction(helper):
                yield from _calls(helper, textwrap.dedent(inspect.getsource(helper)), seen | {node.func.id})


def _found(source: str) -> list[ast.Call]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a lambda in the middle of an expression
        return []
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
