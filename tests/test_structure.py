"""What holds for all of the code: who imports whom, how long a screen is, what every stage carries, what we refuse."""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scratchlab.stages import STAGES, about

ROOT = Path(__file__).resolve().parent.parent

# The order in which to read. A module imports only what stands before it here.
LAYERS = [
    "errors",
    "display",
    "finished",
    "owner",
    "progress",
    "linux",
    "shared",
    "journal",
    "stages",
    "attacks",
    "rootfs",
    "observe",
    "sandbox",
    "auto",
    "options",
    "security",
    "container",
    "peers",
    "judges",
    "trials",
    "views",
    "magics",
    "vm",
    "lessons",
    "lab",
    "classroom",
    "doctor",
    "tour",
    "commands",
    "cli",
]

# The public names, imported when they are first used.
ABOVE_ALL = {"__init__", "__main__"}

# The one import against the order, and it is made inside a function: a stage that is called directly needs the host's side
# of the calling process, and that side must exist before the process leaves the host.
UPWARDS = {("stages/stage.py", "sandbox")}

FUNCTION_LINES, MOST_FUNCTIONS_LINES, FILE_LINES, NESTING, SUMMARY_WORDS = 40, 25, 300, 3, 20

Function = ast.FunctionDef | ast.AsyncFunctionDef


def files(*patterns: str) -> list[Path]:
    """Source files below the checkout, by glob."""
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern) if ".ipynb_checkpoints" not in path.parts)


LIBRARY = files("scratchlab/**/*.py")
TESTS = files("tests/**/*.py")
ALL = [*LIBRARY, *TESTS, *files("benchmarks/**/*.py", "tools/**/*.py")]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the one in conftest.py, which asks the machine twice for each test: nothing here does more than read."""


def each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=[str(path.relative_to(ROOT)) for path in paths])


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def functions(node: ast.AST) -> Iterator[Function]:
    return (found for found in ast.walk(node) if isinstance(found, Function))


# -- layers -----------------------------------------------------------------------------------------------------------


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT / "scratchlab").parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """The layers that a module imports, and whether it does so at its top, where it costs every user of it."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = [f"{module}.{alias.name}" for alias in node.names]
        for name in names:
            assert not name.startswith("."), f"relative import {name}: write it from scratchlab on, so that a search finds it"
            if name.startswith("scratchlab.") and name != "scratchlab.__version__":
                yield name.split(".")[1], getattr(node, "col_offset", 0) == 0


@each(LIBRARY)
def test_a_module_is_in_a_layer_and_imports_only_from_layers_before_it(path: Path) -> None:
    layer = layer_of(path)
    if layer in ABOVE_ALL:
        return
    assert layer in LAYERS
    allowed = set(LAYERS[: LAYERS.index(layer) + 1])
    found = set(imports(tree_of(path)))

    upwards = {(name, top) for name, top in found if name not in allowed}
    excused = {(name, False) for file, name in UPWARDS if path == ROOT / "scratchlab" / file}
    assert upwards == excused


def test_importing_scratchlab_brings_none_of_the_slow_modules() -> None:
    program = "import sys; before = set(sys.modules); import scratchlab; print(*sorted(set(sys.modules) - before))"
    brought = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()

    assert "scratchlab" in brought
    assert not {name.partition(".")[0] for name in brought} & {"pyroute2", "asyncio", "IPython", "ipykernel", "subprocess"}


# -- a screen at most -------------------------------------------------------------------------------------------------


def body_lines(function: Function) -> int:
    """Lines of code from the first statement after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)


def depth(node: ast.AST) -> int:
    """How deep blocks lie in each other; `elif` is no deeper than its `if`, and a function inside begins anew."""
    deepest = 0
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, Function):
                continue
            is_elif = isinstance(node, ast.If) and field == "orelse" and isinstance(child, ast.If)
            deepest = max(deepest, depth(child) + (isinstance(child, BLOCKS) and not is_elif))
    return deepest


@each(ALL)
def test_a_file_is_a_few_screens_and_a_function_is_one(path: Path) -> None:
    lines = len(path.read_text().splitlines())

    assert lines <= FILE_LINES
    assert {f.name: body_lines(f) for f in functions(tree_of(path)) if body_lines(f) > FUNCTION_LINES} == {}


@each(ALL)
def test_blocks_are_not_nested_deeply(path: Path) -> None:
    assert {f.name: depth(f) for f in functions(tree_of(path)) if depth(f) > NESTING} == {}


def test_nine_functions_of_ten_are_half_a_screen() -> None:
    lengths = sorted(body_lines(function) for path in LIBRARY for function in functions(tree_of(path)))

    assert lengths[len(lengths) * 9 // 10] <= MOST_FUNCTIONS_LINES


# -- said in words ----------------------------------------------------------------------------------------------------


def public(tree: ast.Module | ast.ClassDef) -> Iterator[Function | ast.ClassDef]:
    """Functions, classes and methods that others may use."""
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node)


def summary(node: Function | ast.ClassDef) -> str:
    """The first line of a docstring, without the manual page that it may end with."""
    return re.sub(r"  [\w.-]+\([1-8]\w*\)$", "", (ast.get_docstring(node) or "").partition("\n")[0])


@each(LIBRARY)
def test_every_public_name_says_in_one_short_line_what_it_is(path: Path) -> None:
    tree = tree_of(path)
    summaries = {node.name: summary(node) for node in public(tree)}

    assert ast.get_docstring(tree) or not tree.body
    assert {name: line for name, line in summaries.items() if not 0 < len(line.split()) <= SUMMARY_WORDS} == {}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_said_in_four_notations(name: str) -> None:
    stage = about(STAGES[name])

    assert stage.side in ("inside", "outside")
    assert stage.man and all(re.fullmatch(r"[\w.-]+\([1-8]\w*\)", page) for page in stage.man)
    assert stage.shell.strip() and stage.engine.strip()


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_has_a_test(name: str) -> None:
    words = {word for path in files("tests/stages/test_*.py") for word in re.findall(r"\w+", path.read_text())}

    assert name in words


@each(files("tests/**/test_*.py"))
def test_a_test_file_has_tests(path: Path) -> None:
    assert any(function.name.startswith("test_") for function in functions(tree_of(path)))


# -- what we refuse ---------------------------------------------------------------------------------------------------


def swallows(node: ast.AST, lines: list[str]) -> bool:
    """An `except` for everything. BaseException may be caught where it is raised again, or a comment says why not."""
    if not isinstance(node, ast.ExceptHandler):
        return False
    caught = ast.unparse(node.type) if node.type else ""
    if caught == "BaseException":
        has_reason = "#" in lines[node.lineno - 1] or lines[node.lineno - 2].lstrip().startswith("#")
        return not isinstance(node.body[-1], ast.Raise) and not has_reason
    return caught in ("", "Exception")


def uses_a_shell(node: ast.AST, _lines: list[str]) -> bool:
    if isinstance(node, ast.keyword):
        return node.arg == "shell" and ast.unparse(node.value) == "True"  # stages have a `shell` too: words to read
    return isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.system", "os.popen", "subprocess.getoutput")


def raises_bare_exception(node: ast.AST, _lines: list[str]) -> bool:
    raised = node.exc.func if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) else None
    return raised is not None and ast.unparse(raised) in ("Exception", "BaseException")


def mocks(node: ast.AST, _lines: list[str]) -> bool:
    words = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
    words += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    return any("mock" in word.lower() for word in words)


def lines_where(path: Path, refused: Callable[[ast.AST, list[str]], bool]) -> list[int]:
    lines = path.read_text().splitlines()
    return [getattr(node, "lineno", 0) for node in ast.walk(tree_of(path)) if refused(node, lines)]


@each(LIBRARY)
def test_no_error_is_swallowed_or_without_a_kind(path: Path) -> None:
    assert lines_where(path, swallows) == []
    assert lines_where(path, raises_bare_exception) == []


@each(ALL)
def test_no_shell_reads_our_strings(path: Path) -> None:
    assert lines_where(path, uses_a_shell) == []


@each(TESTS)
def test_tests_work_on_the_real_kernel(path: Path) -> None:
    assert lines_where(path, mocks) == []


@each(TESTS)
def test_tests_wait_for_conditions_and_not_for_time(path: Path) -> None:
    tree = tree_of(path)
    in_loops = {sleep for loop in ast.walk(tree) if isinstance(loop, ast.While | ast.For) for sleep in ast.walk(loop)}
    sleeps = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "sleep")]

    # A sleep in a loop polls for something. One on its own hopes that the machine is fast enough, unless its line says why not.
    lines = path.read_text().splitlines()
    assert [node.lineno for node in sleeps if node not in in_loops and "  # " not in lines[node.lineno - 1]] == []


@each(ALL)
def test_nothing_is_left_to_do(path: Path) -> None:
    assert re.findall(r"#\s*(?:TODO|FIXME|XXX)\b.*", path.read_text()) == []


def test_no_file_knows_the_machine_or_the_registry_it_was_written_on() -> None:
    listing = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    tracked = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    texts = {name: (ROOT / name).read_text(errors="replace") for name in tracked if (ROOT / name).is_file()}
    # In brackets, so that this line does not find itself.
    foreign = r"[/]work/|pypi[.]org|pythonhosted[.]org|npmjs[.]|[-]-(?:extra-)?index-url|[-]-find-links"

    assert {name: found for name, text in texts.items() if (found := re.findall(foreign, text))} == {}
