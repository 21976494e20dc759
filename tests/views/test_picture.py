"""What holds for every picture: the same bytes for the same data, a text that says all, and nothing but an image in HTML."""

import subprocess
import sys
from types import MappingProxyType

import pytest

from scratchlab import display
from scratchlab.linux.ledger import Call
from scratchlab.linux.proc import MountPoint
from scratchlab.observe.packet import Hop, Journey, Match
from scratchlab.observe.processes import Listed
from scratchlab.observe.usage import Usage
from scratchlab.views import Chart, Groups, Ledger, Matrix, Mounts, Namespaces, Network, Packet, Picture, Processes
from scratchlab.views.chart import Rate
from scratchlab.views.matrix import Row
from scratchlab.views.mounts import tree as mount_tree
from scratchlab.views.processes import tree as process_tree
from scratchlab.views.svg import printable
from scratchlab.views.wiring import End
from tests.views.reading import HOSTILE, image

USAGES = (
    Usage("cpu", 2, ("scratchlab", "web"), (), "20000 100000", None, {"throttled": 7}),
    Usage("memory", 2, ("scratchlab", "web"), ("below",), "67108864", 33554432, {"killed": 1}),
    Usage("pids", 1, (), (), "max", 9, {"refused": 0}),
)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the one in conftest.py, which asks the machine twice for each test: nothing here makes anything."""


def pictures(name: str) -> list[Picture]:
    """One of each kind, with `name` wherever the kernel or a learner gives names."""
    mount = MountPoint(1, 0, "8:1", "/", name, "rw", "shared:1", name, name, "rw")
    processes = [Listed(10, 1, name, "S", (10,), 1), Listed(11, 10, name, "Z", (11, 1), 2)]
    ends = ("10.0.0.1:5", "10.0.0.2:80")
    hop = Hop("inside", name, name, ends, (Match(name, name, "drop"),), (name, name))
    rates = (Rate(0.1, 0.2, 1.0, 1 << 20, {name: 0.5}),) * 3
    return [
        Namespaces(("host", name), (("uts", ("host", name)), ("net", ("host", "host")))),
        Mounts(name, False, mount_tree([mount, mount._replace(mount_id=2, parent_id=1)], [])),
        Processes(name, True, process_tree(processes, 11, 10, 1)),
        Network(
            name, True, (End(name, name, True, (name,)),), 0, name, (End(name, "veth", False, ()),), (name,), ((name, name),)
        ),
        Packet(name, name, False, Journey((hop,), name)),
        Groups(name, USAGES),
        Chart(name, (name, name), MappingProxyType({usage.controller: usage for usage in USAGES}), rates),
        Ledger(name, name, name, name, (Call("open", {name: name}, name, 0.0),)),
        Matrix((name,), (name,), (Row(name, "stopped", ("got out",), "not tried", (name,)),)),
    ]


KINDS = [type(picture).__name__ for picture in pictures("web")]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_a_hostile_name_is_text_and_nothing_else(kind: int, name: str) -> None:
    picture = pictures(name)[kind]

    seen = image(picture)

    assert all(printable(line) == line for line in repr(picture).split("\n"))
    assert printable(name)[:10] in " ".join(seen.words())
    assert int(seen.root.attrib["width"]) <= 1200  # a name of 200 characters is cut, and does not make all else small


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_the_alternative_is_the_text(kind: int) -> None:
    picture = pictures("web")[kind]

    seen = image(picture)

    assert seen.alternative == repr(picture)
    assert seen.root[0].text == picture.title and seen.root[1].text == repr(picture)


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_the_same_data_gives_the_same_bytes(kind: int) -> None:
    assert pictures("web")[kind].svg() == pictures("web")[kind].svg()


def test_a_picture_can_be_saved_for_a_slide(tmp_path) -> None:
    picture = pictures("web")[0]

    picture.save(tmp_path / "slide.svg")

    assert (tmp_path / "slide.svg").read_text() == picture.svg()


def test_the_text_of_a_picture_is_its_repr_and_its_plain_form() -> None:
    picture = pictures("web")[0]

    assert display.bundle(picture)["text/plain"] == repr(picture) == str(picture)


def test_a_value_that_nobody_has_drawn_is_text() -> None:
    assert display.bundle({"a": 1}) == {"text/plain": "{'a': 1}"}


def test_pictures_are_imported_when_they_are_first_used() -> None:
    program = (
        "import sys; from scratchlab import Sandbox; print([name for name in sys.modules if 'views' in name or 'html' in name])"
    )

    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
