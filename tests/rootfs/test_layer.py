"""Layers of images: unpacked as the specification has it, and whoever made the tar, nothing is written elsewhere."""

import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scratchlab.errors import HostError, InputError
from scratchlab.rootfs.layer import unpack
from tests.conftest import in_child, needs_root

Entry = tuple[str, dict[str, Any], bytes]


def entry(name: str, content: bytes = b"", **fields: Any) -> Entry:
    return name, fields, content


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Entry:
    return entry(name, type=kind, linkname=target)


def directory(name: str, **fields: Any) -> Entry:
    return entry(name, type=tarfile.DIRTYPE, **{"mode": 0o755, **fields})


def layer(tmp_path: Path, *entries: Entry) -> Path:
    """A tar of these entries, owned by whoever runs the test."""
    made = tmp_path / f"layer-{os.urandom(3).hex()}.tar"
    with tarfile.open(made, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, fields, content in entries:
            member = tarfile.TarInfo(name)
            member.uid, member.gid, member.size = os.getuid(), os.getgid(), len(content)
            for field, value in fields.items():
                setattr(member, field, value)
            tar.addfile(member, io.BytesIO(content))
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    made = tmp_path / "outside"
    made.mkdir()
    (made / "file").write_text("as it was")
    return made


# -- as the specification has it --------------------------------------------------------------------------------------


def test_files_links_and_directories_are_as_the_tar_says(tmp_path: Path, root: Path) -> None:
    tar = layer(
        tmp_path, directory("./"), directory("bin/", mtime=5), entry("bin/tool", b"#!", mode=0o755, mtime=7),
        link("bin/alias", "tool"), link("bin/twin", "bin/tool", tarfile.LNKTYPE), entry("deep/er/file", b"x"),
        entry("pipe", type=tarfile.FIFOTYPE),
    )  # fmt: skip
    done = unpack(tar, root)

    assert (root / "bin/tool").read_bytes() == b"#!" and stat.S_IMODE((root / "bin/tool").stat().st_mode) == 0o755
    assert os.readlink(root / "bin/alias") == "tool"
    assert (root / "bin/twin").samefile(root / "bin/tool")
    assert ((root / "bin/tool").stat().st_mtime, (root / "bin").stat().st_mtime) == (7, 5)
    assert (root / "deep/er/file").read_text() == "x" and (root / "pipe").is_fifo()
    assert (done.files, done.removed, done.left_out) == (7, 0, ())


@needs_root
def test_owners_and_privileges_of_files_are_kept(tmp_path: Path, root: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service+ep, version 2
    attributes = {"SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape")}
    unpack(layer(tmp_path, entry("su", b"x", mode=0o4755, uid=0), entry("ping", uid=7, gid=8, pax_headers=attributes)), root)

    assert stat.S_IMODE((root / "su").stat().st_mode) == 0o4755
    assert ((root / "ping").stat().st_uid, (root / "ping").stat().st_gid) == (7, 8)
    assert os.getxattr(root / "ping", "security.capability") == capability


def test_a_layer_goes_over_the_one_below_it(tmp_path: Path, root: Path) -> None:
    unpack(
        layer(tmp_path, entry("was-file", b"1"), directory("was-dir"), entry("was-dir/in", b"1"), link("was-link", "was-file")),
        root,
    )
    unpack(layer(tmp_path, directory("was-file"), entry("was-dir", b"2"), entry("was-link", b"2")), root)

    assert (root / "was-file").is_dir() and (root / "was-dir").read_text() == "2"
    assert (root / "was-link").read_text() == "2" and not (root / "was-link").is_symlink()


def test_a_directory_that_is_there_keeps_what_is_in_it(tmp_path: Path, root: Path) -> None:
    unpack(layer(tmp_path, directory("etc"), entry("etc/old", b"1")), root)
    unpack(layer(tmp_path, directory("etc", mode=0o700), entry("etc/new", b"2")), root)

    assert {path.name for path in (root / "etc").iterdir()} == {"old", "new"}
    assert stat.S_IMODE((root / "etc").stat().st_mode) == 0o700


def test_whiteouts_take_away_what_is_below_and_only_that(tmp_path: Path, root: Path, outside: Path) -> None:
    unpack(layer(tmp_path, entry("a/one", b"1"), entry("a/two", b"1"), entry("b/old/x", b"1"), link("exit", str(outside))), root)
    done = unpack(
        layer(tmp_path, entry("a/.wh.one"), entry("b/new", b"2"), entry("b/.wh..wh..opq"), entry("b/late", b"2"),
              entry(".wh.exit"), entry("a/.wh.never-there"), entry("nowhere/.wh.x")), root
    )  # fmt: skip

    assert [path.name for path in (root / "a").iterdir()] == ["two"]
    assert {path.name for path in (root / "b").iterdir()} == {"new", "late"}
    assert not (root / "exit").is_symlink() and (outside / "file").exists()
    assert done.removed == 5


# -- whoever made it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["{outside}", "../outside", "/../../../..{outside}"])
def test_a_link_is_followed_as_in_the_container_and_leads_nowhere_else(
    where: str, tmp_path: Path, root: Path, outside: Path
) -> None:
    way = where.format(outside=outside)
    unpack(layer(tmp_path, link("exit", way), entry("exit/file", b"evil"), entry("exit/.wh.file")), root)

    assert (outside / "file").read_text() == "as it was"
    assert [path.name for path in outside.iterdir()] == ["file"]


def test_a_file_over_a_link_replaces_the_link_and_not_what_it_leads_to(tmp_path: Path, root: Path, outside: Path) -> None:
    unpack(layer(tmp_path, link("file", str(outside / "file")), entry("file", b"evil", mode=0o4777)), root)

    assert (outside / "file").read_text() == "as it was"
    assert (root / "file").read_text() == "evil"


def test_a_hard_link_reaches_only_what_is_in_the_image(tmp_path: Path, root: Path, outside: Path) -> None:
    with pytest.raises((InputError, HostError)):
        unpack(layer(tmp_path, link("twin", str(outside / "file"), tarfile.LNKTYPE), entry("twin", b"evil")), root)

    assert (outside / "file").read_text() == "as it was" and (outside / "file").stat().st_nlink == 1


@pytest.mark.parametrize(
    "evil",
    [entry("../file", b"evil"), entry("a/../../file", b"evil"), entry("/../file", b"evil"),
     link("twin", "../outside/file", tarfile.LNKTYPE),
     entry(".wh..."), entry("a/.wh.."), entry(".wh.")],
)  # fmt: skip
def test_a_name_that_is_meant_to_lead_out_is_refused_before_anything_is_written(evil: Entry, tmp_path: Path, root: Path) -> None:
    with pytest.raises(InputError, match="leads out of it"):
        unpack(layer(tmp_path, entry("first", b"x"), evil), root)

    assert list(root.iterdir()) == []


def test_devices_are_left_out_and_named(tmp_path: Path, root: Path) -> None:
    done = unpack(
        layer(tmp_path, entry("disk", type=tarfile.BLKTYPE), entry("dev/mem", type=tarfile.CHRTYPE), entry("x", b"y")), root
    )

    assert done.left_out == ("disk", "dev/mem")
    assert [path.name for path in root.iterdir()] == ["x"]


@needs_root
def test_an_ordinary_user_can_unpack_too_and_owns_what_comes(tmp_path: Path, root: Path) -> None:
    tar = layer(tmp_path, entry("file", b"x", uid=0, gid=0))
    os.chown(root, 65534, 65534)
    for path in (*tmp_path.parents, tmp_path):
        if path.stat().st_uid == os.getuid() and str(path).startswith("/tmp/"):
            path.chmod(path.stat().st_mode | 0o055)

    def there() -> None:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        unpack(tar, root)

    in_child(there)
    assert (root / "file").stat().st_uid == 65534


# -- bad input --------------------------------------------------------------------------------------------------------


def _no_tar(tmp_path: Path) -> Path:
    (tmp_path / "text").write_text("not a tar" * 100)
    return tmp_path / "text"


@pytest.mark.parametrize(
    ("make", "complaint"),
    [(_no_tar, "is no layer"), (lambda tmp_path: tmp_path / "nothing", "nothing: No such file"),
     (lambda tmp_path: tmp_path, "Is a directory")],
)  # fmt: skip
def test_what_is_no_layer_is_said(make: Callable[[Path], Path], complaint: str, tmp_path: Path, root: Path) -> None:
    with pytest.raises(InputError, match=complaint):
        unpack(make(tmp_path), root)


def test_where_there_is_no_directory_to_unpack_into(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a directory to unpack into"):
        unpack(layer(tmp_path), tmp_path / "nothing")


def test_a_file_where_a_directory_should_be_is_said(tmp_path: Path, root: Path) -> None:
    with pytest.raises(HostError, match="a/b of the layer cannot be written"):
        unpack(layer(tmp_path, entry("a", b"x"), entry("a/b", b"y")), root)
