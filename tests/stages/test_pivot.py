"""Another root: chroot(2), which does not hold, and pivot_root(2), which does."""

import os
from pathlib import Path

import pytest

from scratchlab.errors import InputError, KernelError
from scratchlab.stages.filesystem import (
    bind,
    chroot,
    overlay,
    pivot,
    private_mounts,
)
from scratchlab.stages.namespaces import unshare_mount
from tests.conftest import held, in_child, needs_root
from tests.stages.filesystem_lab import output, own_mounts

pytestmark = needs_root


def break_out() -> list[str]:
    """The classic: a second chroot leaves the working directory above the root, and `..` does the rest."""
    os.mkdir("/tmp/deeper")
    os.chroot("/tmp/deeper")
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    return sorted(os.listdir("/"))


def test_a_second_chroot_leaves_a_chroot(tiny_root: Path) -> None:
    assert in_child(lambda: (unshare_mount(), chroot(str(tiny_root)), break_out())[2]) == sorted(os.listdir("/"))


def test_a_second_chroot_does_not_leave_a_pivoted_root(tiny_root: Path) -> None:
    assert in_child(lambda: (own_mounts(), pivot(str(tiny_root)), break_out())[2]) == sorted(os.listdir(tiny_root))


def test_after_pivot_no_mount_of_the_host_is_left(tiny_root: Path) -> None:
    host = Path("/proc/self/mountinfo").read_text()

    with held(lambda: (own_mounts(), pivot(str(tiny_root)))) as pid:
        inside = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
        root, cwd = os.readlink(f"/proc/{pid}/root"), os.readlink(f"/proc/{pid}/cwd")
        files = os.listdir(f"/proc/{pid}/root")

    assert [line.split()[4] for line in inside] == ["/"]
    assert (root, cwd) == ("/", "/")
    assert sorted(files) == sorted(os.listdir(tiny_root))
    assert Path("/proc/self/mountinfo").read_text() == host


def test_pivot_takes_along_what_is_mounted_below_the_new_root(tiny_root: Path) -> None:
    def act() -> str:
        own_mounts()
        bind("/etc", "/tmp", True, root=str(tiny_root))
        pivot(str(tiny_root))
        return output("/bin/ls", "-A", "/tmp")

    assert in_child(act).splitlines() == sorted(os.listdir("/etc"))


def test_pivot_works_by_a_relative_path_and_on_an_overlay(tiny_root: Path, tmp_path: Path) -> None:
    for name in ("upper", "work", "merged"):
        (tmp_path / name).mkdir()

    def act() -> str:
        own_mounts()
        overlay(str(tiny_root), str(tmp_path / "upper"), str(tmp_path / "work"), str(tmp_path / "merged"))
        os.chdir(tmp_path)
        pivot("merged")
        return output("/bin/touch", "/new") + output("/bin/cat", "/etc/inside")

    assert in_child(act) == "inside\n"
    assert (tmp_path / "upper/new").exists()
    assert not (tiny_root / "new").exists()


def test_pivot_and_chroot_refuse_what_cannot_be_a_root(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for stage in (pivot, chroot):
        for path, message in [("missing", "does not exist"), ("file", "is not a directory")]:
            with pytest.raises(InputError, match=message):
                in_child(lambda s=stage, p=path: (own_mounts(), s(str(tmp_path / p))))
    with pytest.raises(InputError, match="already"):
        in_child(lambda: (own_mounts(), pivot("/")))


def test_pivot_before_private_mounts_says_what_to_do(tiny_root: Path) -> None:
    def act() -> None:
        own_mounts()
        private_mounts("shared")
        pivot(str(tiny_root))

    with pytest.raises(KernelError, match="private_mounts"):
        in_child(act)
