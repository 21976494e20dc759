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
        link.unpack_here(stream, tmp_path / "inside")
    assert not (tmp_path / "outside").exists()
