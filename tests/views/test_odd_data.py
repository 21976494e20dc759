"""Whatever the kernel or a racing machine gives, a picture comes of it: trees from any table, words from any bytes."""

from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchlab.linux.nftrace import parse_trace
from scratchlab.linux.proc import MountPoint
from scratchlab.observe.packet import parse_rules
from scratchlab.observe.processes import Listed
from scratchlab.observe.usage import parse_pressure
from scratchlab.views import Mounts, Processes, svg
from scratchlab.views.mounts import tree as mount_tree
from scratchlab.views.processes import tree as process_tree

TEXT = st.text(st.characters(), max_size=30)
NUMBER = st.integers(0, 6)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the one in conftest.py, which asks the machine twice for each test: nothing here makes anything."""


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_none(data: bytes) -> None:
    event = parse_trace(b"\0\0\0\0\x11\x0a" + data)

    assert event is None or isinstance(event.chain, str)


@given(TEXT)
def test_any_text_is_read_as_rules_and_as_pressure(text: str) -> None:
    assert parse_pressure(text) >= 0
    assert all(handle >= 0 for handle in parse_rules(text).rules)


@given(TEXT, st.integers(2, 40))
def test_any_text_can_be_drawn_cut_and_wrapped(text: str, room: int) -> None:
    drawing = svg.Drawing()
    for number, line in enumerate([text, svg.shortened(text, room), *svg.wrapped(text, room)]):
        drawing.text(0, number, line)

    ElementTree.fromstring(drawing.svg(text, text))
    assert svg.columns(svg.shortened(text, room)) <= room


@settings(deadline=None)
@given(
    st.lists(st.builds(Listed, NUMBER, NUMBER, TEXT, st.just("S"), st.tuples(NUMBER), NUMBER), unique_by=lambda each: each.pid)
)
def test_any_process_table_makes_a_tree_that_ends(processes: list[Listed]) -> None:
    box = Listed(9, 3, "box", "S", (9, 1), 7)

    rows = process_tree([*processes, box], first=9, top=1, host=1)

    assert [row.command for row in rows].count("box") >= 1
    ElementTree.fromstring(Processes("web", True, rows).svg())


MOUNT = st.builds(
    MountPoint, NUMBER, NUMBER, TEXT, TEXT, TEXT, TEXT, st.sampled_from(["private", "shared:1", ""]), TEXT, TEXT, TEXT
)


@settings(deadline=None)
@given(st.lists(MOUNT, max_size=6, unique_by=lambda mount: mount.mount_id), st.lists(MOUNT, max_size=3), st.booleans())
def test_any_mount_table_makes_a_tree_that_ends(inside: list[MountPoint], on_host: list[MountPoint], every: bool) -> None:
    rows = mount_tree(inside, on_host, every)

    assert len(rows) <= 2 * len(inside)
    ElementTree.fromstring(Mounts("web", False, rows).svg())
