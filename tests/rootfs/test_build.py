"""All of a root filesystem, or nothing: whatever ends the work, nothing half-made stays."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# As nobody, Python itself may lie where it cannot be read any more: what is imported late must be here before.
from scratchlab import linux
from scratchlab.errors import HostError, InputError
from scratchlab.rootfs import create, sources
from tests.conftest import in_child, needs_root
from tests.rootfs.inside import as_nobody, private_mounts, shared_directory

CHECKOUT = Path(__file__).resolve().parents[2]

STOPS_IN_THE_MIDDLE = """
import signal, sys
from scratchlab.rootfs import create

def stop(word, part):
    print(word, flush=True)
    signal.pause()

create(sys.argv[1], sys.argv[2], sys.argv[3:], progress=stop)
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    with shared_directory() as made:
        yield made


def stopped_in_the_middle(place: Path, *words: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", STOPS_IN_THE_MIDDLE, str(place), *words],
        cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout and process.stdout.readline()
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_leaves_nothing(directory: Path, number: signal.Signals) -> None:
    process = stopped_in_the_middle(directory / "root", "host", "bash")
    (partial,) = os.listdir(directory)
    process.send_signal(number)
    process.communicate()

    assert partial.startswith("root.partial-")
    assert process.returncode in (-number, 128 + number)
    assert os.listdir(directory) == []


def test_an_error_in_the_middle_leaves_nothing(directory: Path) -> None:
    def fail(_word: str, part: float | None) -> None:
        if part:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        create(directory / "root", "busybox", progress=fail)
    assert os.listdir(directory) == []


@needs_root
def test_a_full_disk_is_told_as_such_and_leaves_nothing(directory: Path) -> None:
    def fill() -> tuple[str, list[str]]:
        private_mounts()
        linux.mount("small", str(directory), "tmpfs", data="size=2m")
        with pytest.raises(HostError) as caught:
            create(directory / "root", "host", ["bash", "ls"])
        return str(caught.value), os.listdir(directory)

    message, left = in_child(fill)
    assert "No space left on device" in message and "free space there" in message
    assert left == []


def test_handlers_of_signals_are_as_before(directory: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    create(directory / "root", "busybox")

    assert signal.getsignal(signal.SIGTERM) is before


# -- where -----------------------------------------------------------------------------------------------------------


def test_a_relative_path_and_an_empty_directory_will_do(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory)
    (directory / "empty").mkdir()

    assert create("root", "busybox") == directory / "root"
    assert create("empty", "busybox") == directory / "empty"
    assert sorted(os.listdir(directory)) == ["empty", "root"]


def test_nothing_is_overwritten(directory: Path) -> None:
    (directory / "file").write_text("mine")
    (directory / "full").mkdir()
    (directory / "full/file").write_text("mine")
    (directory / "link").symlink_to("nowhere")

    for name in ("file", "full", "link"):
        with pytest.raises(InputError, match=r"is there already|is not empty"):
            create(directory / name, "busybox")
    assert sorted(os.listdir(directory)) == ["file", "full", "link"]
    assert (directory / "full/file").read_text() == "mine"


def test_what_appears_meanwhile_is_not_overwritten_either(directory: Path) -> None:
    def intrude(_word: str, _part: float | None) -> None:
        (directory / "root").mkdir(exist_ok=True)
        (directory / "root/file").write_text("theirs")

    with pytest.raises(HostError, match="Directory not empty"):
        create(directory / "root", "busybox", progress=intrude)
    assert os.listdir(directory) == ["root"]
    assert os.listdir(directory / "root") == ["file"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no/such/parent", "does not exist"),
        ("file/below", "is not a directory"),
        ("/proc", "something is mounted on"),
        ("", "is empty"),
    ],
)
def test_an_impossible_place_is_refused(directory: Path, path: str, message: str) -> None:
    (directory / "file").touch()
    with pytest.raises(InputError, match=message):
        create(path and directory / path, "busybox")


@needs_root
def test_a_place_that_is_not_ours_to_write_is_refused(directory: Path) -> None:
    directory.chmod(0o755)

    def make() -> str:
        as_nobody()
        with pytest.raises(InputError) as caught:
            create(directory / "root", "busybox")
        return str(caught.value)

    assert "you may not write to" in in_child(make)


# -- from what -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "programs", "suite", "message"),
    [
        ("floppy", (), None, "host, busybox, debian"),
        ("busybox", ("ls",), None, "brings its own programs"),
        ("host", ("ls",), "bookworm", "has no suites"),
        ("debian", (), "--hook", "cannot be the name of a suite"),
    ],
)
def test_a_question_without_meaning_is_refused(
    directory: Path, source: str, programs: tuple[str, ...], suite: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        create(directory / "root", source, programs, suite)
    assert os.listdir(directory) == []


def test_the_sources_are_three() -> None:
    assert list(sources()) == ["host", "busybox", "debian"]
