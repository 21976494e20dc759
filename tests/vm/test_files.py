"""Files go into a machine and come back, whole, as root's, and never where nobody asked."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from scratchlab.errors import HostError
from scratchlab.vm import Machine, link


def test_a_file_and_a_directory_go_in_and_come_back_the_same(shared: Machine, tmp_path: Path) -> None:
    source = tmp_path / "data"
    (source / "deeper").mkdir(parents=True)
    (source / "deeper/bytes").write_bytes(os.urandom(2_000_000))
    (source / "run").write_text("#!/bin/sh\necho ran\n")
    (source / "run").chmod(0o755)
    (source / "name with spaces, ünd").write_text("text")

    shared.push(source, "/root/in")
    shared.fetch("/root/in/data", tmp_path / "back")

    assert shared.run(["/root/in/data/run"]).out == "ran"
    assert shared.run(["stat", "-c", "%U", "/root/in/data/run"]).out == "root"
    back = tmp_path / "back/data"
    assert {path.relative_to(back) for path in back.rglob("*")} == {path.relative_to(source) for path in source.rglob("*")}
    assert (back / "deeper/bytes").read_bytes() == (source / "deeper/bytes").read_bytes()


def test_a_file_that_is_not_there_is_told(shared: Machine, tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"could not copy /root/nothing from the machine.*nothing"):
        shared.fetch("/root/nothing", tmp_path)


def test_a_full_disk_in_the_machine_is_told(shared: Machine, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(3_000_000))
    shared.run(["sh", "-c", "mkdir -p /tmp/small && mount -t tmpfs -o size=1M tmpfs /tmp/small"])

    with pytest.raises(HostError, match=r"could not copy to /tmp/small in the machine: .*Wrote only"):
        shared.push(tmp_path / "large", "/tmp/small")


def test_an_archive_of_the_machine_writes_only_below_the_directory_that_was_named(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../outside"))
    stream.seek(0)

    with pytest.raises(HostError, match="outside"):
        link.unpack_here(stream, tmp_path / "inside", "..")
    assert not (tmp_path / "outside").exists()


def archive_of(*members: tarfile.TarInfo) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for member in members:
            archive.addfile(member)
    stream.seek(0)
    return stream


def member(name: str, type_: bytes = tarfile.REGTYPE, leads_to: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = type_, leads_to
    return made


def test_what_nobody_asked_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"sent '\.git/hooks/post-checkout' instead of 'result'"):
        link.unpack_here(archive_of(member("result"), member(".git/hooks/post-checkout")), tmp_path, "result")
    with pytest.raises(HostError, match="sent 'results/x' instead of 'result'"):
        link.unpack_here(archive_of(member("results/x")), tmp_path, "result")


@pytest.mark.parametrize(
    "sent, why",
    [
        (member("d/.config"), "hidden"),
        (member("d/link", tarfile.SYMTYPE, "../.git"), "no file and no directory"),
        (member("d/link", tarfile.LNKTYPE, ".git/config"), "no file and no directory"),
        (member("d/pipe", tarfile.FIFOTYPE), "no file and no directory"),
        (member("d/way/config"), "behind a link"),
        (member("d/alias"), "behind a link"),
    ],
)
def test_what_may_be_anybodys_comes_plain_or_not_at_all(tmp_path: Path, sent: tarfile.TarInfo, why: str) -> None:
    for place in (".git", "d"):
        (tmp_path / place).mkdir()
    (tmp_path / ".git/config").write_text("ours")
    (tmp_path / "d/way").symlink_to("../.git")
    (tmp_path / "d/alias").symlink_to("../.git/config")

    with pytest.raises(HostError, match=why):
        link.unpack_here(archive_of(sent), tmp_path, "d", plain=True)
    assert (tmp_path / ".git/config").read_text() == "ours"
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".git", "alias", "config", "d", "way"]
