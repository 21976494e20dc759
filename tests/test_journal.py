"""The journal: whatever moment its owner is killed at, what it had made is taken back, and nothing of anybody else."""

import errno
import os
from pathlib import Path

import pytest

from scratchlab.errors import HostError, InputError, SandboxError
from scratchlab.journal import Journal, read
from scratchlab.linux import Mount, mount
from scratchlab.shared import hold_mount_point, run_directory
from tests.conftest import needs_root
from tests.test_shared import on_a_machine_of_its_own

pytestmark = needs_root


LINK = "/proc/sys/net/ipv4/conf/lo/forwarding"


def state() -> list[str]:
    """Every file of ours on this machine, but for the lock that stays."""
    return sorted(
        str(path.relative_to("/run/scratchlab")) for path in run_directory().rglob("*") if path.name not in ("lock", "shared")
    )


def test_a_journal_holds_its_owner_the_undos_in_order_and_the_facts() -> None:
    def act() -> tuple[object, ...]:
        made = Journal.claim("web")
        made.will("file", path="/tmp/a")
        made.fact(pid=4711)
        made.will("file", path="/tmp/b")
        made.fact(pid=4712, ports=[8080])
        entries = read(made.path)
        return (
            entries.name,
            entries.alive,
            entries.owner["owner"] == os.getpid(),
            [undo["path"] for undo in entries.undos],
            entries.facts,
        )

    expected = ("web", True, True, ["/tmp/a", "/tmp/b"], {"pid": 4712, "ports": [8080]})
    assert on_a_machine_of_its_own(act) == expected


def test_a_name_that_is_taken_gets_a_number_or_with_exact_an_error() -> None:
    def act() -> list[str]:
        names = [Journal.claim("web").name, Journal.claim("web").name, Journal.claim("web", exact=False).name]
        with pytest.raises(HostError, match="'web' is taken"):
            Journal.claim("web", exact=True)
        return names

    assert on_a_machine_of_its_own(act) == ["web", "web-2", "web-3"]


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-x", "_x", "a b", "ü", "a\n", "x" * 41, "a\0", "1²"])
def test_a_name_that_could_not_be_a_file_and_a_group_and_a_table_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot name"):
        Journal.claim(name)


def test_close_takes_back_in_reverse_and_twice_is_once(tmp_path: Path) -> None:
    def act() -> list[str]:
        made = Journal.claim("web")
        for path in (tmp_path / "a", tmp_path / "a/b", tmp_path / "a/b/c"):
            made.will("mount_point", path=str(path), directory=True, holder="web")
            hold_mount_point(str(path), True, "web")
        made.close()
        made.close()
        return state()

    assert on_a_machine_of_its_own(act) == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_is_closed_first_and_only_once() -> None:
    closed = []

    class Socket:
        def close(self) -> None:
            closed.append(len(state()))

    def act() -> list[int]:
        made = Journal.claim("web")
        made.keep(Socket())
        made.close()
        made.close()
        return closed

    assert on_a_machine_of_its_own(act) == [1]


def test_what_cannot_be_taken_back_is_told_the_rest_is_done_and_the_journal_stays(tmp_path: Path) -> None:
    (tmp_path / "first").touch()
    (tmp_path / "last").touch()
    (tmp_path / "directory").mkdir()

    def act() -> list[str]:
        made = Journal.claim("web")
        for name in ("first", "directory", "last"):
            made.will("file", path=str(tmp_path / name))
        made._append(b'{"undo": "from_the_future", "x": 1}\n')
        with pytest.raises(SandboxError, match=r"from_the_future.*another version.*directory"):
            made.close()
        return state()

    assert on_a_machine_of_its_own(act) == ["web.journal"]
    assert os.listdir(tmp_path) == ["directory"]


def test_half_a_line_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    def act() -> int:
        made = Journal.claim("web")
        made.will("file", path=str(tmp_path / "file"))
        made._append(b'{"undo": "file", "pa')
        undos = len(read(made.path).undos)
        made.close()
        return undos

    assert on_a_machine_of_its_own(act) == 1
    assert not (tmp_path / "file").exists()


def test_a_full_file_system_is_an_error_and_what_was_written_before_stays_readable() -> None:
    def act() -> tuple[int, bool]:
        run_directory()
        mount("tmpfs", "/run/scratchlab", "tmpfs", Mount(0), "mode=700,size=8k")
        made = Journal.claim("web")
        written = 0
        with pytest.raises(OSError) as caught:
            while True:
                made.will("file", path="/tmp/scratchlab-never-" + "x" * (written % 200))
                written += 1
        assert caught.value.errno == errno.ENOSPC
        mount(None, "/run/scratchlab", None, Mount.REMOUNT, "size=64k")
        made.will("file", path="/tmp/scratchlab-never")
        return written, len(read(made.path).undos) == written + 1

    written, whole = on_a_machine_of_its_own(act)  # type: ignore[misc]
    assert written > 10
    assert whole
