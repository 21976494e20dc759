"""The documentation's workshop: put the pages together, build them, measure what the pages of the stages show.

.venv/bin/python tools/docs.py build [DIRECTORY]        HTML, offline; a warning is an error
sudo .venv/bin/python tools/docs.py measure [cpu …]     apply each stage, and store what it changed in docs/measured
sudo .venv/bin/python tools/docs.py measure --check     and complain where a stored file would change

What is written by hand is in docs/ and notebooks/. All else is asked of the live library at each build, by tools/pages/: a page
for each stage, each attack, each module's public names. A new one of them needs no entry anywhere.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.pages import api, attacks, lessons, stages  # noqa: E402

DEFAULT = ROOT / ".lab" / "docs"


def assemble(source: Path) -> None:
    """All sources of the documentation in one new folder: docs/ is its root, the notebooks are its lessons/."""
    shutil.copytree(ROOT / "docs", source, ignore=shutil.ignore_patterns("__pycache__", "conf.py"))
    shutil.copytree(ROOT / "notebooks", source / "lessons", ignore=shutil.ignore_patterns(".*", "*.cfg"))
    for name in ("ARCHITECTURE.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, source)
    glossary = source / "glossary.md"
    glossary.write_text(lessons.linked(glossary.read_text()))
    for topic in (lessons, stages, attacks, api):
        for place, text in topic.pages().items():
            (source / place).parent.mkdir(parents=True, exist_ok=True)
            (source / place).write_text(text)


def build(arguments: argparse.Namespace) -> int:
    """Build the pages."""
    try:
        from sphinx.cmd.build import build_main
    except ModuleNotFoundError:
        print("docs: Sphinx is not installed here\n  hint: ./lab docs installs it", file=sys.stderr)
        return 1
    folder = Path(arguments.directory).resolve()
    shutil.rmtree(folder / "source", ignore_errors=True)
    assemble(folder / "source")
    workers = ["--jobs", str(os.cpu_count() or 1)]
    words = ["--fail-on-warning", "--keep-going", "--nitpicky", "--quiet", *workers, "--conf-dir", str(ROOT / "docs")]
    status = build_main([*words, "--doctree-dir", str(folder / "doctrees"), str(folder / "source"), str(folder / "html")])
    if status == 0:
        print(folder / "html" / "index.html")
    return int(status)


def measure(arguments: argparse.Namespace) -> int:
    """Apply stages, and store or compare what they change."""
    from tools.pages import measured

    changed = measured.measure(arguments.names, store=not arguments.check)
    print("\n".join(f"{'differs' if arguments.check else 'stored'}: {name}" for name in changed) or "all as stored")
    return int(arguments.check and bool(changed))


def main(words: list[str] | None = None) -> int:
    """Do one of these."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_subparsers(required=True)
    for act in (build, measure):
        add.add_parser(act.__name__, help=act.__doc__).set_defaults(act=act)
    add.choices["build"].add_argument("directory", nargs="?", default=str(DEFAULT))
    add.choices["measure"].add_argument("names", nargs="*")
    add.choices["measure"].add_argument("--check", action="store_true")
    arguments = parser.parse_args(words)
    return int(arguments.act(arguments))


if __name__ == "__main__":
    sys.exit(main())
