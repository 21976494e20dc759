"""The whole course: a broken stage makes its lesson go red, every stage has a lesson, and nothing is used before it is said."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scratchlab.cli import parser
from scratchlab.lessons import BELIEFS
from scratchlab.lessons.notebook import source
from scratchlab.stages import STAGES
from tests.conftest import needs_root
from tests.lessons.breaking import NOTEBOOKS, ROOT, cells, code, first_difference, lessons_of, stages_of

NUMBERS = [path.name[:2] for path in NOTEBOOKS]

# Waiting is most of what a kernel does here: three at a time keep two processors busy.
AT_A_TIME = 3

# They need programs that not every machine has, so a lesson speaks of them, and does not apply them.
ONLY_NAMED = {"pasta", "slirp4netns"}


def prose(path: Path) -> list[str]:
    """The paragraphs of a notebook, in order, each on one line; what is indented is quoted, and no prose."""
    text = "\n\n".join(source(cell) for cell in cells(path, "markdown"))
    return ["" if paragraph.startswith("    ") else " ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def test_the_course_has_nineteen_lessons():
    assert [f"{number:02}" for number in range(19)] == NUMBERS


# -- broken stages ----------------------------------------------------------------------------------------------------


@needs_root
def test_stages_that_do_nothing_turn_their_lessons_red():
    taught = {path: [stage for stage in stages_of(path) if stage not in ONLY_NAMED] for path in NOTEBOOKS}
    assert all(taught.values())

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        # One lesson at a time only once: a second one's sandboxes would have other names, which it shows.
        green = pool.map(lambda path: [stage for stage in taught[path] if not first_difference(path, stage)], NOTEBOOKS)

    assert {path.stem: stages for path, stages in zip(NOTEBOOKS, green, strict=True) if stages} == {}


@needs_root
def test_a_lesson_is_green_while_no_stage_is_broken():
    assert [path.stem for path in NOTEBOOKS[:2] if first_difference(path)] == []


def test_every_stage_appears_in_a_lesson():
    assert [stage for stage in STAGES if not lessons_of(stage)] == []


# -- terms ------------------------------------------------------------------------------------------------------------

# Words of every day, until a lesson gives them another meaning.
PLAIN_WORDS = {"bridge", "lower", "shared", "upper", "wait"}


def terms() -> dict[str, tuple[Path, int]]:
    """Each term, which is what stands in bold, with the lesson and the paragraph that define it: the first that has it so."""
    found: dict[str, tuple[Path, int]] = {}
    for path in NOTEBOOKS:
        for number, paragraph in enumerate(prose(path)):
            for term in bold(paragraph):
                found.setdefault(term, (path, number))
    return found


def bold(paragraph: str) -> list[str]:
    """The terms in a paragraph; bold words with a full stop are the beginnings of paragraphs."""
    words = [word.lower() for word in re.findall(r"\*\*([^*]+)\*\*", paragraph)]
    return [word for word in words if word[-1] not in ".:?" and word not in PLAIN_WORDS]


def uses(term: str, defined: Path, place: int) -> Iterator[str]:
    """Where a term is used too early. A lesson's first cell and its headings say what will be learned, and may; so may a
    paragraph that says in which lesson the term will be explained."""
    word = re.compile(rf"(?<![\w/-]){re.escape(term)}(s|es)?(?![\w/-])", re.IGNORECASE)
    announced = re.compile(rf"\blessons? (\d+ and )?{int(defined.name[:2])}\b|\bnext lesson\b|^#|^\*\*A question to take along")
    for path in NOTEBOOKS[: NOTEBOOKS.index(defined) + 1]:
        first = source(cells(path, "markdown")[0]).count("\n\n") + 1
        for paragraph in prose(path)[first : place if path == defined else None]:
            if word.search(re.sub(r"`[^`]*`", "", paragraph)) and not announced.search(paragraph):
                yield f"{term} ({defined.name[:2]}) in {path.name[:2]}: {paragraph[:90]}"


def test_a_term_is_defined_before_it_is_used():
    early = [use for term, (path, place) in terms().items() for use in uses(term, path, place)]

    assert early == [], "\n".join(early)
    assert len(terms()) > len(NOTEBOOKS)


# -- what is named exists ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_files_and_commands_that_a_lesson_names_exist(path):
    words = re.findall(r"`([^`]+)`", " ".join(prose(path)))
    files = [word for word in words if re.fullmatch(r"(scratchlab|docs|tests|tools|notebooks)/[\w./-]+", word)]
    commands = {match[1] for word in words if (match := re.match(r"(?:\./lab|scratchlab) ([a-z]+)", word))}

    assert [file for file in files if not (ROOT / file).exists()] == []
    assert sorted(commands - known_commands()) == []


def known_commands() -> set[str]:
    """What `scratchlab` and `./lab` can be told."""
    choices = next(action.choices for action in parser()._actions if action.dest == "verb" or action.choices)
    return {*choices, "test"}


def test_a_lesson_that_is_named_exists():
    named = {number for path in NOTEBOOKS for number in re.findall(r"\b[Ll]esson (\d+)\b", " ".join(prose(path)))}

    assert sorted(number for number in named if f"{int(number):02}" not in NUMBERS) == []


def test_every_belief_of_the_bank_is_asked_or_at_least_written_for_a_lesson():
    asked = {name for path in NOTEBOOKS for name in re.findall(r'lesson\.belief\("([^"]+)"\)', code(path))}

    assert asked <= set(BELIEFS)


def test_the_bank_holds_forty_beliefs():
    assert len(BELIEFS) >= 40
