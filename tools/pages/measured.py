"""What each stage really changes: it is applied on this kernel, and what came of it is kept in docs/measured.

What differs from run to run, or from machine to machine, is a symbol or left out, so that tests can measure again and compare.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from scratchlab import stages
from scratchlab.lessons.folder import Folder
from scratchlab.lessons.leaks import Before
from scratchlab.linux import cgroupfs
from scratchlab.observe import Change
from scratchlab.rootfs import create
from scratchlab.sandbox import Applied, Sandbox
from scratchlab.stages import STAGES, Step
from scratchlab.views.notations import symbolic
from tools.pages.demonstrations import NETWORK, Demonstration, Things, demonstrations

STORE = Path(__file__).resolve().parent.parent.parent / "docs" / "measured"

_LONGEST = 24  # lines; of more calls than that the first and last are kept
_NETWORK_SORTS = {"links", "addresses", "routes", "nft rules"}
_NOT_SHOWN = {"control groups", "working directory"}  # where a sandbox begins is no news

# What one of several sandboxes does for all: the group that theirs are in, and forwarding, are there already or not.
_FOR_ALL = ('/scratchlab"', '/scratchlab/cgroup.subtree_control"', '/ip_forward"')

_SYMBOLS = (
    (r"\b(\w*fd)=\d+", r"\1=N"),
    (r"/proc/self/fd/\d+", "/proc/self/fd/N"),
    (r"\) = ([3-9]|\d\d+)$", ") = N"),
    (r"(RULESET_VERSION\)) = .*", r"\1 = VERSION"),
    (r"\|REFER\b[A-Z_|]*", "|REFER|…"),  # newer kernels have more of these
    (r"0x1f{3}[0-9a-f]{7}", "ALL"),
    (r"\\nadd [^\\]* th dport 53 accept", ""),  # the host's own name server, where it has one
    (r'\\n"', '"'),
    (r"\\nadd ", "\n        add "),  # each of nft's commands on a line of its own
)


def stored(name: str) -> dict[str, str]:
    """What a stage changed when it was measured: one text, or one for each version of control groups, "v1" and "v2"."""
    return {path.name.split(".")[-2]: path.read_text().rstrip() for path in sorted(STORE.glob(f"{name}.*txt"))}


def place_of(name: str) -> Path:
    """The file for a stage, as measured on this machine."""
    of_groups = STAGES[name].__module__ == stages.cgroups.__name__
    return STORE / (f"{name}.v{cgroupfs.layout().of('cpu').version}.txt" if of_groups else f"{name}.txt")


def measure(names: Sequence[str], store: bool) -> list[str]:
    """Measure these stages, or all; gives those of which something else is stored."""
    with _workshop() as (place, neighbour):
        things = Things.of(str(place), neighbour.pid)
        listed = demonstrations(things)
        said = {name: _said(listed[name], things, neighbour.name) for name in names or listed}
    changed = [name for name, text in said.items() if not place_of(name).exists() or place_of(name).read_text() != text]
    for name in changed if store else []:
        place_of(name).write_text(said[name])
    return changed


@contextmanager
def _workshop() -> Iterator[tuple[Path, Sandbox]]:
    """A folder with a root filesystem, and a sandbox that runs already; nothing is left of them."""
    with ExitStack() as after:
        folder = Folder.make("docs")
        after.callback(folder.close)
        create(folder.path / "rootfs", "busybox")
        for name in ("lower", "upper", "work", "merged", "there"):
            (folder.path / name).mkdir()
        neighbour = after.enter_context(Sandbox("db"))
        neighbour.apply(stages.unshare_uts)
        neighbour.apply(stages.pids, 64)
        yield folder.path, neighbour


def _said(demonstration: Demonstration, things: Things, neighbour: str) -> str:
    step = demonstration.step
    with Sandbox("web") as box:
        box.play(demonstration.before)
        applied = _ours(box.apply(step.stage, *step.args, **step.kwargs), demonstration, (box.name, things.bridge))
        text = repr(_named(applied, {box.name: "web", neighbour: "db", **things.symbols}))
    Before.now().leaks([box], None)  # waits: the kernel takes its cable away a moment later, and the next box is called web, too
    text = re.sub(rf"^(\w+\(){things.neighbour}\b", r"\1PID", text)
    return "\n".join(_cut("\n".join(map(_symbolic, text.splitlines())).splitlines())) + "\n"


# -- what belongs to the step -----------------------------------------------------------------------------------------


def _ours(applied: Applied, demonstration: Demonstration, names: Sequence[str]) -> Applied:
    """The step without what others did meanwhile, and without what this machine happens to have."""
    hidden = _NOT_SHOWN.union(demonstration.without, () if demonstration.before[:1] == NETWORK else _NETWORK_SORTS)
    changes = [change for change in applied.changes if change.what not in hidden and _is_about(change, names)]
    if gone := [change for change in changes if change.what == "mounts" and change.after is None]:
        changes = [change for change in changes if change not in gone] + [
            replace(gone[0], item="every mount of the host", before="")
        ]
    calls = tuple(call for call in applied.calls if not any(value.endswith(_FOR_ALL) for value in call.arguments.values()))
    return applied._replace(changes=tuple(changes), calls=calls)


def _is_about(change: Change, names: Sequence[str]) -> bool:
    if change.what == "mounts":
        return change.item == "/" or change.before is None or change.after is None
    if "dport 53" in change.item:
        return False
    return change.where == "inside" or any(re.search(rf"\b{name}(?![\w-])", f"{change.item} {change.after}") for name in names)


# -- and how it is written --------------------------------------------------------------------------------------------


def _named(applied: Applied, symbols: Mapping[str, str]) -> Applied:
    """The same with symbols for names; in the data, so that columns stand below each other."""

    def text(value: str | None) -> str | None:
        for name, symbol in symbols.items():
            value = value and re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.])", symbol, value)
        value = value and re.sub(r",noatime\b|\bnoatime,|  noatime$", "", value)  # as this machine mounts its disk
        value = value and re.sub(r"\b172\.22\.\d+\.", "172.22.0.", value)  # the first free subnet
        return value and re.sub(r"^all but [A-Z_, ]+$", "all", value)  # a machine whose root lacks a capability

    step = Step(applied.step.stage, tuple(text(each) if isinstance(each, str) else each for each in applied.step.args))
    kwargs = {key: text(each) if isinstance(each, str) else each for key, each in applied.step.kwargs.items()}
    changes = [
        replace(each, before=text(each.before), after=text(each.after), item=text(each.item) or "") for each in applied.changes
    ]
    calls = [each._replace(arguments={key: text(value) or "" for key, value in each.arguments.items()}) for each in applied.calls]
    return applied._replace(step=step._replace(kwargs=kwargs), changes=tuple(changes), calls=tuple(calls))


def _symbolic(line: str) -> str:
    line = symbolic(line)
    for pattern, words in _SYMBOLS:
        line = re.sub(pattern, words, line)
    return line


def _cut(lines: list[str]) -> list[str]:
    return lines if len(lines) <= _LONGEST else [*lines[: _LONGEST - 4], "    …", *lines[-3:]]
