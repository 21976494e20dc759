"""The lab around an attack: bait that is really there, and gone afterwards, also when its program is killed."""

import os
import signal
import subprocess
from pathlib import Path

from scratchlab import journal, linux
from scratchlab.linux.loop import loop_device
from scratchlab.trials.lab import PASSWORD, gossip, key, lab
from tests.command_line import running, said
from tests.conftest import eventually, needs_root

pytestmark = needs_root


def labs(beside: Path) -> list[Path]:
    return list(beside.parent.glob(".scratchlab-lab-*"))


def test_a_lab_stands_beside_the_root_filesystem_on_the_same_disk(busybox_rootfs: Path) -> None:
    with lab(str(busybox_rootfs)) as made:
        assert labs(busybox_rootfs) == [made.directory]
        assert made.directory.stat().st_dev == busybox_rootfs.stat().st_dev
        assert made.marker.read_text() == made.secret
    assert labs(busybox_rootfs) == []


def test_a_killed_programs_lab_is_taken_away_by_the_next_clean(busybox_rootfs: Path) -> None:
    with running("ablate", busybox_rootfs) as process:
        assert eventually(lambda: bool(labs(busybox_rootfs)))
        process.send_signal(signal.SIGKILL)
        process.wait()
        said("clean")  # if no other program of ours starts before, and does the same

        assert eventually(lambda: labs(busybox_rootfs), wanted=[]) == []
    assert eventually(lambda: not [entries for entries in journal.journals() if entries.name.startswith("lab")])


def test_the_gossip_is_seen_by_ps_and_ends_with_its_block() -> None:
    with gossip("pass-word") as pid:
        shown = subprocess.run(["ps", "-p", str(pid), "-o", "args="], capture_output=True, text=True, check=True).stdout
        assert f"{PASSWORD}=pass-word" in shown
    assert eventually(lambda: not Path(f"/proc/{pid}").exists())


def test_a_key_of_the_lab_is_in_the_kernels_list_and_then_not() -> None:
    with key("secret") as description:
        assert description in Path("/proc/keys").read_text()
    assert eventually(lambda: description not in Path("/proc/keys").read_text())


def test_a_loop_device_reads_as_its_file_and_goes_with_its_block(tmp_path: Path) -> None:
    with loop_device(str(tmp_path / "disk"), b"content") as (major, minor):
        assert Path(f"/dev/loop{minor}").read_bytes() == b"content".ljust(512, b"\0")
        backing = Path(f"/sys/dev/block/{major}:{minor}/loop/backing_file")
        assert backing.read_text().strip() == str(tmp_path / "disk")
    assert eventually(lambda: not backing.exists())


def test_a_handle_means_its_file_wherever_the_name_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    handle = linux.name_to_handle_at(str(tmp_path / "file"))
    (tmp_path / "file").rename(tmp_path / "moved")
    directory = os.open(tmp_path, os.O_RDONLY)
    fd = linux.open_by_handle_at(directory, handle, os.O_RDONLY)

    assert os.read(fd, 100) == b"content"
    os.close(fd)
    os.close(directory)
