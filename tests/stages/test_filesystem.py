"""The filesystem, from both sides: what a process in its own root can name, and that the host sees none of it."""

import errno
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from scratchlab.errors import InputError, KernelError
from scratchlab.stages.filesystem import bind, devices, overlay, private_mounts, tmpfs
from scratchlab.stages.kernel_files import proc
from scratchlab.stages.namespaces import unshare_mount
from tests.conftest import held, in_child, needs_root
from tests.stages.filesystem_lab import mounted_at, own_mounts, writable

pytestmark = needs_root


# -- the mount table --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("apart", "seen"), [(False, True), (True, False)])
def test_a_mount_travels_to_the_host_until_mounts_are_private(tmp_path: Path, apart: bool, seen: bool) -> None:
    def machine() -> bool:
        own_mounts()
        private_mounts("shared")  # as systemd leaves a machine

        def sandbox() -> None:
            unshare_mount()
            if apart:
                private_mounts()
            tmpfs(str(tmp_path))

        with held(sandbox) as pid:
            assert mounted_at(str(tmp_path), pid)
            return bool(mounted_at(str(tmp_path)))

    assert in_child(machine) is seen


def test_slave_mounts_let_the_hosts_later_mounts_in_and_none_out(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()

    def machine() -> tuple[int, int]:
        own_mounts()
        private_mounts("shared")

        def sandbox() -> None:
            unshare_mount()
            private_mounts("slave")
            tmpfs(str(theirs))

        with held(sandbox) as pid:
            tmpfs(str(ours))
            return len(mounted_at(str(ours), pid)), len(mounted_at(str(theirs)))

    assert in_child(machine) == (1, 0)


def test_an_unknown_propagation_is_refused() -> None:
    with pytest.raises(InputError, match="slave"):
        in_child(lambda: (unshare_mount(), private_mounts("open")))


def test_bind_shows_a_directory_at_a_second_place_and_only_inside(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "file").write_text("here")

    with held(lambda: (own_mounts(), bind(str(source), str(target)))) as pid:
        inside = Path(f"/proc/{pid}/root{target}/file").read_text()

    assert inside == "here"
    assert list(target.iterdir()) == []


def test_a_read_only_bind_is_read_only_in_the_mounts_below_it_too(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "below").mkdir(parents=True)
    target.mkdir()

    def act() -> list[bool]:
        own_mounts()
        tmpfs(str(source / "below"))
        bind(str(source), str(target), readonly=True)
        return [writable(path) for path in (target, target / "below", source, source / "below")]

    assert in_child(act) == [False, False, True, True]


def test_a_read_only_bind_keeps_the_flags_that_the_mount_had(tmp_path: Path) -> None:
    def act() -> list[str]:
        own_mounts()
        tmpfs(str(tmp_path))
        (tmp_path / "source").mkdir()
        (tmp_path / "target").mkdir()
        bind(str(tmp_path / "source"), str(tmp_path / "target"), readonly=True)
        (line,) = mounted_at(str(tmp_path / "target"))
        return line.split()[5].split(",")

    assert {"ro", "nosuid", "nodev"} <= set(in_child(act))


def test_bind_without_recursive_leaves_the_mounts_below_behind(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "below").mkdir(parents=True)
    target.mkdir()

    def act(recursive: bool) -> list[str]:
        own_mounts()
        tmpfs(str(source / "below"))
        (source / "below/file").touch()
        bind(str(source), str(target), recursive=recursive)
        return os.listdir(target / "below")

    assert in_child(lambda: act(True)) == ["file"]
    assert in_child(lambda: act(False)) == []


def test_bind_takes_single_files(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("new")
    (tmp_path / "target").write_text("old")

    def act() -> str:
        own_mounts()
        bind(str(tmp_path / "source"), str(tmp_path / "target"), True)
        return (tmp_path / "target").read_text()

    assert in_child(act) == "new"
    assert (tmp_path / "target").read_text() == "old"


def test_bind_says_which_end_is_missing_or_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    here, file, missing = str(tmp_path), str(tmp_path / "file"), str(tmp_path / "missing")

    for source, target, message in [(missing, here, "missing does not exist, so"), (here, missing, "mount_points")]:
        with pytest.raises(InputError, match=message):
            in_child(lambda s=source, t=target: (own_mounts(), bind(s, t)))
    with pytest.raises(KernelError, match="one can be mounted on its like only"):
        in_child(lambda: (own_mounts(), bind(here, file)))


def test_a_link_in_the_root_filesystem_does_not_lead_a_mount_out_of_it(tiny_root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.rmtree(tiny_root / "dev")
    (tiny_root / "dev").symlink_to(outside)  # there is none in the root filesystem …
    (tiny_root / "up").symlink_to("../../../../../../../etc")  # … and /etc there is not ours

    def act() -> tuple[list[str], list[str]]:
        own_mounts()
        tmpfs("/up", root=str(tiny_root))
        with pytest.raises(InputError, match="only what exists"):
            devices(root=str(tiny_root))
        return os.listdir(tiny_root / "etc"), os.listdir(outside)

    etc = os.listdir("/etc")
    assert in_child(act) == ([], [])
    assert os.listdir("/etc") == etc


def test_overlay_reads_through_and_writes_to_the_upper_layer(tmp_path: Path) -> None:
    names = ["one", "two:with,odd\\name", "upper", "work", "merged"]
    one, two, upper, work, merged = (tmp_path / name for name in names)
    for path in (one, two, upper, work, merged):
        path.mkdir()
    (one / "both").write_text("top")
    (two / "both").write_text("bottom")
    (two / "below").write_text("below")

    def act() -> tuple[str, str]:
        own_mounts()
        overlay([str(one), str(two)], str(upper), str(work), str(merged))
        read = (merged / "both").read_text(), (merged / "below").read_text()
        (merged / "below").write_text("changed")
        return read

    assert in_child(act) == ("top", "below")
    assert (upper / "below").read_text() == "changed"
    assert (two / "below").read_text() == "below"
    assert list(merged.iterdir()) == []


def test_overlay_refuses_a_missing_layer_and_more_than_a_page_of_options(tmp_path: Path) -> None:
    here = str(tmp_path)
    with pytest.raises(InputError, match="nowhere is not a directory"):
        in_child(lambda: (own_mounts(), overlay("/nowhere", here, here, here)))
    with pytest.raises(InputError, match="above one page"):
        in_child(lambda: (own_mounts(), overlay([here] * 4096, here, here, here)))


def test_tmpfs_holds_what_it_was_given_and_no_more(tmp_path: Path) -> None:
    def act() -> tuple[int, int, int | None]:
        own_mounts()
        tmpfs(str(tmp_path), "1M", 0o700)
        found = os.statvfs(tmp_path)
        try:
            (tmp_path / "big").write_bytes(bytes(2 << 20))
        except OSError as error:
            return found.f_blocks * found.f_frsize, stat.S_IMODE(tmp_path.stat().st_mode), error.errno
        return 0, 0, None

    assert in_child(act) == (1 << 20, 0o700, errno.ENOSPC)


@pytest.mark.parametrize("size", ["", "lots", "-1", "1M,mode=4777", "1T"])
def test_tmpfs_refuses_what_is_no_size(size: str) -> None:
    with pytest.raises(InputError, match="not a size"):
        in_child(lambda: (own_mounts(), tmpfs("/tmp", size)))


def test_findmnt_agrees_on_what_is_mounted(tiny_root: Path) -> None:
    with held(lambda: (own_mounts(), proc("/proc", root=str(tiny_root)), tmpfs("/tmp", root=str(tiny_root)))) as pid:
        command = ["findmnt", "--task", str(pid), "--list", "--noheadings", "--output", "TARGET,FSTYPE"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")

    shown = [line.split() for line in lines if str(tiny_root) in line]
    assert shown == [[f"{tiny_root}/proc", "proc"], [f"{tiny_root}/tmp", "tmpfs"]]
