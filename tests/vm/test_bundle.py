"""An image as a file: taken in on another computer it is the same, and a damaged one is refused."""

import errno
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from scratchlab.errors import HostError, InputError
from scratchlab.vm import bundle, cache, image
from tests.command_line import complains, said


@pytest.fixture(scope="module")
def file(built: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("bundle") / "image.tar"
    said("vm", "export", target)
    return target


@pytest.fixture
def other_computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with nothing in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_an_image_that_was_exported_and_imported_is_the_same(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = image.have().directory
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    taken = bundle.import_(file)

    assert taken.name == ours.name and taken.directory != ours
    for name in ("vmlinuz", "initrd"):
        assert (taken.directory / name).read_bytes() == (ours / name).read_bytes()
    assert (taken.directory / "disk").stat().st_blocks < 1.2 * (ours / "disk").stat().st_blocks


def test_an_image_of_another_release_is_used_where_none_can_be_built(file: Path, other_computer: Path) -> None:
    taken = bundle.import_(file)
    shutil.move(taken.directory, taken.directory.with_name("0123456789abcdef"))

    found = image.find()
    assert found and found.name == "0123456789abcdef"


def flip(data: bytearray) -> None:
    data[len(data) // 2] ^= 1


def cut(data: bytearray) -> None:
    del data[len(data) // 3 :]


def other(data: bytearray) -> None:
    data[:] = b"PK\x03\x04 something else altogether" * 1000


def empty(data: bytearray) -> None:
    data.clear()


@pytest.mark.parametrize("damage", [flip, cut, other, empty])
def test_a_damaged_file_is_refused_and_nothing_of_it_stays(
    file: Path, other_computer: Path, tmp_path: Path, damage: Callable[[bytearray], None]
) -> None:
    data = bytearray(file.read_bytes())
    damage(data)
    (tmp_path / "damaged").write_bytes(data)

    with pytest.raises(InputError, match=r"damaged|no image") as raised:
        bundle.import_(tmp_path / "damaged")
    assert "again" in raised.value.hint
    assert list(cache.cache().glob("images/*")) == []


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff", b'{"name": "0123456789abcdef"}'], ids=repr)
def test_an_archive_that_says_something_else_is_refused(other_computer: Path, tmp_path: Path, content: bytes) -> None:
    with tarfile.open(tmp_path / "odd", "w") as archive:
        member = tarfile.TarInfo("image.json")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))

    with pytest.raises(InputError, match="no image"):
        bundle.import_(tmp_path / "odd")


def test_an_image_for_which_there_is_no_room_is_told(file: Path, other_computer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundle, "_write", full)
    with pytest.raises(HostError, match="No space left on device"):
        bundle.import_(file)
    assert list(cache.cache().glob("images/*")) == []


def test_what_exists_is_not_written_over(file: Path) -> None:
    complains(2, "exists already", "vm", "export", file)


def test_a_directory_that_is_not_there_is_told(built: None) -> None:
    complains(125, "could not write /nowhere/image: No such file or directory", "vm", "export", "/nowhere/image")
