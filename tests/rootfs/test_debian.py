"""A small Debian, and which of the machine's apt sources it comes from."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from scratchlab.errors import HostError
from scratchlab.rootfs import contents, create
from scratchlab.rootfs.debian import apt_sources
from tests.conftest import MUST_WORK, in_child, needs, needs_root
from tests.rootfs.inside import as_nobody, said_inside, shared_directory
from tests.rootfs.test_build import stopped_in_the_middle

needs_mmdebstrap = needs(shutil.which("mmdebstrap"), "needs mmdebstrap: apt-get install mmdebstrap")


@pytest.fixture
def directory() -> Iterator[Path]:
    with shared_directory() as made:
        yield made


@needs_root
@needs_mmdebstrap
def test_a_small_debian_runs_its_own_programs(directory: Path) -> None:
    try:
        root = create(directory / "root", "debian")
    except HostError as error:
        if MUST_WORK or "apt-get update" not in str(error):
            raise
        pytest.skip(f"needs the archive of this machine's apt sources: {error}")

    assert said_inside(root, "dpkg-query", "-W", "-f", "${Status}", "bash") == "install ok installed"
    assert "ID=debian" in (root / "etc/os-release").read_text()
    assert (root / "etc/hostname").read_text() == "container\n" and (root / "etc/resolv.conf").read_text() == ""
    assert contents(root).programs > 100


@needs_root
@needs_mmdebstrap
def test_a_signal_ends_all_that_mmdebstrap_started(directory: Path) -> None:
    process = stopped_in_the_middle(directory / "root", "debian")
    (partial,) = os.listdir(directory)
    working = processes_naming(partial)
    process.send_signal(signal.SIGTERM)
    process.communicate()

    assert working
    assert processes_naming(partial) == []
    assert os.listdir(directory) == []


def processes_naming(word: str) -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:
            continue  # ended since the listing
    return [words for words in found if word.encode() in words]


@needs_root
@needs_mmdebstrap
def test_a_suite_that_no_archive_has_is_told_and_leaves_nothing(directory: Path) -> None:
    with pytest.raises(HostError, match="could not make a nosuchsuite"):
        create(directory / "root", "debian", suite="nosuchsuite")
    assert os.listdir(directory) == []


@needs_root
@needs_mmdebstrap
def test_an_ordinary_user_is_told_to_use_something_else(directory: Path) -> None:
    def make() -> str:
        as_nobody()
        with pytest.raises(HostError) as caught:
            create(directory / "root", "debian")
        return str(caught.value)

    assert "only root can unpack packages" in in_child(make)


# -- sources.list(5), without a machine --------------------------------------------------------------------------------

LINES = """\
deb [signed-by=/key arch=amd64] http://mirror.example/debian bookworm main contrib
deb http://mirror.example/debian bookworm-updates main
deb http://mirror.example/security bookworm-security main
# deb http://mirror.example/debian bookworm non-free
deb-src http://mirror.example/debian bookworm main
deb http://other.example/apt cloud-bookworm main
"""

PARAGRAPHS = """\
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main
Signed-By: /key

Types: deb
URIs: http://other.example/node
Suites: nodistro
Components: main

Types: deb
Enabled: no
URIs: http://mirror.example/off
Suites: bookworm
Components: main
"""


def test_lines_of_this_release_stay_and_others_go() -> None:
    assert apt_sources([LINES], "bookworm", "bookworm").split("\n\n") == LINES.splitlines()[:3]


def test_another_suite_takes_the_place_of_this_release() -> None:
    assert [line.split()[-2] for line in apt_sources([LINES.replace(" contrib", "")], "bookworm", "trixie").split("\n\n")] == [
        "trixie", "trixie-updates", "trixie-security",
    ]  # fmt: skip
    assert "mirror.example/debian sid main contrib" in apt_sources([LINES], "bookworm", "sid")
    assert "updates" not in apt_sources([LINES], "bookworm", "sid")


def test_paragraphs_of_this_release_stay_and_others_go() -> None:
    kept = apt_sources([PARAGRAPHS], "bookworm", "bookworm")

    assert "Suites: bookworm bookworm-updates\n" in kept and "Signed-By: /key" in kept
    assert "other.example" not in kept and "/off" not in kept
