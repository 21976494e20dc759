"""The notebooks' workshop: run them, store what they say in one form, turn them into text and back.

sudo .venv/bin/python tools/notebooks.py run [07 …]          run, and store the real outputs
sudo .venv/bin/python tools/notebooks.py run --check         run, and complain where the stored file would change
.venv/bin/python tools/notebooks.py read 07 > 07.md          the cells as Markdown, to edit
.venv/bin/python tools/notebooks.py write 07-being-pid-1 07.md   and back; then `run`
.venv/bin/python tools/notebooks.py student DIRECTORY        the learner's versions
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scratchlab.lessons import copies  # noqa: E402
from scratchlab.lessons.notebook import Notebook, sanitized, source, stored, tags  # noqa: E402
from scratchlab.lessons.predict import UNATTENDED  # noqa: E402

FOLDER = ROOT / "notebooks"
SECONDS = 60  # for one cell


def found(names: list[str]) -> list[Path]:
    """The notebooks whose names begin with one of these; all, if none is named. Ends the program where a name fits none."""
    every = sorted(FOLDER.glob("[0-9][0-9]-*.ipynb"))
    if unknown := [name for name in names if not any(path.name.startswith(name) for path in every)]:
        sys.exit(f"notebooks: no lesson begins with {', '.join(unknown)}")  # else a check of nothing would pass
    return [path for path in every if not names or path.name.startswith(tuple(names))]


def executed(notebook: Notebook) -> Notebook:
    """The notebook with the outputs that it has on this machine now."""
    import nbformat
    from nbclient import NotebookClient

    with TemporaryDirectory() as data:
        # Nobody's progress, and nobody there to guess.
        os.environ |= {UNATTENDED: "1", "XDG_DATA_HOME": data, "PYTHONPATH": str(ROOT), "IPYTHONDIR": f"{data}/ipython"}
        made = nbformat.reads(json.dumps(notebook), as_version=4)
        NotebookClient(made, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}).execute()
    return json.loads(nbformat.writes(made))


def run(arguments: argparse.Namespace) -> int:
    """Run notebooks, and store or compare."""
    changed, rules = [], (FOLDER / "sanitize.cfg").read_text()
    for path in found(arguments.names):
        before = path.read_text()
        after = stored(executed(json.loads(stored(json.loads(before)))))
        if sanitized(after, rules) != sanitized(before, rules):
            changed.append(path.name)
            if not arguments.check:
                path.write_text(after)
    print("\n".join(f"{'differs' if arguments.check else 'stored'}: {name}" for name in changed) or "all as stored")
    return int(arguments.check and bool(changed))


def read(arguments: argparse.Namespace) -> int:
    """Print the cells of one notebook as Markdown."""
    for cell in json.loads(found([arguments.name])[0].read_text())["cells"]:
        text = source(cell)
        print(" ".join(["```python", *tags(cell)]) + f"\n{text}\n```\n" if cell["cell_type"] == "code" else f"{text}\n")
    return 0


def write(arguments: argparse.Namespace) -> int:
    """Make a notebook from Markdown: what stands between ```python and ``` is a code cell; a heading begins a new cell."""
    cells = []
    pieces = re.split(r"^```python(.*)\n([\s\S]*?)^```$", Path(arguments.text).read_text(), flags=re.MULTILINE)
    for number in range(0, len(pieces), 3):
        for text in re.split(r"^(?=#+ )", pieces[number], flags=re.MULTILINE):
            cells += [{"cell_type": "markdown", "source": text.strip()}] if text.strip() else []
        if number + 2 < len(pieces):
            marks = {"tags": pieces[number + 1].split()}
            cells.append(
                {"cell_type": "code", "metadata": marks, "source": pieces[number + 2], "outputs": [], "execution_count": None}
            )
    (FOLDER / f"{arguments.name}.ipynb").write_text(stored({"cells": cells}))
    return 0


def student(arguments: argparse.Namespace) -> int:
    """Write the learner's versions, and the index, as `scratchlab lab` does; what the learner has changed stays."""
    print(copies.copy_to(Path(arguments.directory)))
    return 0


def main(words: list[str] | None = None) -> int:
    """Do one of these."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_subparsers(required=True)
    for act in (run, read, write, student):
        add.add_parser(act.__name__, help=act.__doc__).set_defaults(act=act)
    verbs = add.choices
    verbs["run"].add_argument("names", nargs="*")
    verbs["run"].add_argument("--check", action="store_true")
    verbs["read"].add_argument("name")
    verbs["write"].add_argument("name")
    verbs["write"].add_argument("text")
    verbs["student"].add_argument("directory")
    arguments = parser.parse_args(words)
    return int(arguments.act(arguments))


if __name__ == "__main__":
    sys.exit(main())
