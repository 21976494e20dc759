"""A page for each attack: what it tries, which stages stop it, where it was seen, its source."""

from scratchlab import attacks
from scratchlab.attacks import ATTACKS, Attack
from scratchlab.stages import STAGES
from tools.pages import lessons
from tools.pages.markdown import fenced, page, table
from tools.pages.source import described, first_line


def pages() -> dict[str, str]:
    """The attacks, and their table."""
    return {"attacks/table.txt": _table(), **{f"attacks/{name}.md": _page(name, attack) for name, attack in ATTACKS.items()}}


def _table() -> str:
    rows = [
        (f"[`{name}`]({name}.md)", first_line(attack), _walls(attacks.about(attack).stopped_by))
        for name, attack in ATTACKS.items()
    ]
    return table(("attack", "what it does", "stopped by"), rows) + "\n"


def _page(name: str, attack: Attack) -> str:
    known = attacks.about(attack)
    rows = [
        ("each one stops it", _walls(known.stopped_by)),
        ("so would, if they were in the default container", _walls(known.also)),
        ("seen in the wild", known.history),
        ("where", "inside the sandbox" if known.side == "inside" else "outside: what is attacked is a tool of the host"),
        ("machine", "it acts on the whole machine, so it runs only in one that is thrown away" if known.disposable else ""),
        ("manual pages", ", ".join(known.man)),
        ("lessons", "; ".join(lessons.about(f"attacks.{name}"))),
    ]
    return page(
        f"# {name}",
        "```{py:currentmodule} scratchlab.attacks\n```",
        described(name, attack.function),  # type: ignore[attr-defined]
        table(("", ""), [row for row in rows if row[1]]),
        "## Its source",
        f"`{attack.function.__module__.replace('.', '/')}.py`",  # type: ignore[attr-defined]
        fenced(str(attacks.source(attack)), "python"),
    )


def _walls(names: tuple[str, ...]) -> str:
    return ", ".join(f"[`{name}`](../stages/{name}.md)" if name in STAGES else f"`{name}`" for name in names)
