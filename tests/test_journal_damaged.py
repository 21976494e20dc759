"""Journals that no program of ours would write: told in words, never a traceback, and never in the way of the others."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scratchlab.errors import SandboxError
from scratchlab.journal import Journal, boot_id, clean, end_process, journals, read, start_time
from scratchlab.shared import run_directory
from tests.conftest import held, needs_root
from tests.survival import CLI, on_a_machine_of_its_own

pytestmark = needs_root

DEAD = {"owner": 1 << 21, "started": 1, "boot": "0"}  # no such process, and of another boot


def write(name: str, *lines: object, raw: bytes = b"") -> Path:
    """A journal with these lines."""
    path = run_directory() / f"{name}.journal"
    path.write_bytes("".join(json.dumps(line) + "\n" for line in lines).encode() + raw)
    return path


def remains() -> list[str]:
    return sorted(path.name for path in run_directory().iterdir() if path.name not in ("lock", "shared", "claims"))


UNREADABLE: dict[str, tuple[list[object], bytes]] = {
    "empty": ([], b""),
    "half a line": ([DEAD], b'{"undo": "file", "pa'),
    "not text": ([], b"\xff\xfe\x00" * 50),
    "not objects": ([DEAD, 3, [], None, "x"], b""),
    "no owner": ([{"fact": {}}], b""),
    "an owner that is no process": ([{"owner": "../../1", "started": 0, "boot": boot_id()}], b""),
    "an owner that was never there": ([{"owner": 0, "started": 0, "boot": boot_id()}], b""),
    "facts that are none": ([DEAD, {"fact": 7}], b""),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_read_lists_nothing_that_was_made_and_is_removed(what: str, tmp_path: Path) -> None:
    lines, raw = UNREADABLE[what]
    (tmp_path / "file").touch()

    def act() -> tuple[list[str], list[str]]:
        write("damaged", *lines, raw=raw)
        write("good", DEAD, {"undo": "file", "path": str(tmp_path / "file")})
        assert [found.alive for found in journals()] == [False, False]
        return clean(), remains()

    assert on_a_machine_of_its_own(act) == (["damaged", "good"], [])
    assert not (tmp_path / "file").exists()


IMPOSSIBLE = {
    "an undo of another version": {"undo": "teleporter", "to": "x"},
    "an undo without its arguments": {"undo": "file"},
    "an undo with arguments of another type": {"undo": "process", "pid": "x", "started": []},
    "a group that is not ours": {"undo": "cgroup", "path": "/sys/fs/cgroup/memory/../cpu/scratchlab"},
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_cannot_be_taken_back_is_told_in_one_line_and_the_others_are_cleaned(what: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    def act() -> tuple[int, str, list[str]]:
        write("damaged", DEAD, IMPOSSIBLE[what])
        write("good", DEAD, {"undo": "file", "path": str(tmp_path / "file")})
        done = subprocess.run([*CLI, "clean"], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr, remains()

    status, said, left = on_a_machine_of_its_own(act)
    assert (status, left) == (125, ["damaged.journal"])
    assert said.startswith("scratchlab: sandbox damaged: could not take back: ") and "Traceback" not in said
    assert not (tmp_path / "file").exists()


def test_a_directory_in_the_place_of_a_journal_is_told_and_stays(tmp_path: Path) -> None:
    def act() -> tuple[str, list[str], list[str]]:
        (run_directory() / "odd.journal").mkdir()
        write("good", DEAD)
        with pytest.raises(SandboxError) as caught:
            clean()
        return caught.value.message, [found.name for found in journals()], remains()

    said, listed, left = on_a_machine_of_its_own(act)
    assert "odd.journal is no journal of ours: Is a directory" in said
    assert (listed, left) == ([], ["odd.journal"])


def test_an_undo_of_another_boot_does_not_kill_who_has_that_number_now(tmp_path: Path) -> None:
    def act() -> tuple[list[str], bool]:
        with held(lambda: None) as innocent:
            write("old", {**DEAD, "boot": "another"}, {"undo": "process", "pid": innocent, "started": start_time(innocent) + 1})
            return clean(), start_time(innocent) != 0

    assert on_a_machine_of_its_own(act) == (["old"], True)


def test_what_failed_to_be_taken_back_is_left_to_clean_although_the_owner_lives(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()

    def act() -> tuple[list[str], list[str]]:
        made = Journal.claim("web")
        made.will("file", path=str(tmp_path / "directory"))
        with pytest.raises(SandboxError):
            made.close()
        (tmp_path / "directory").rmdir()
        return clean(), remains()

    assert on_a_machine_of_its_own(act) == (["web"], [])


def test_of_two_who_close_one_journal_the_second_waits_and_does_nothing(tmp_path: Path) -> None:
    """The first is stopped in the middle, by a pipe without a writer in the place of a file that it wants to read."""

    def in_child_(act: Callable[[], object]) -> int:
        if (pid := os.fork()) == 0:
            act()
            os._exit(0)
        return pid

    def act() -> tuple[list[str], list[str]]:
        write("web", DEAD, {"undo": "sysctl", "key": "net/ipv4/ip_forward", "value": "1", "holder": "web"})
        place = run_directory() / "shared/sysctl:net%2Fipv4%2Fip_forward"
        (place / "by").mkdir(parents=True)
        os.mkfifo(place / "was")
        first = in_child_(clean)
        stopped = os.open(place / "was", os.O_WRONLY)  # opens when the first reads
        second = in_child_(lambda: (os.close(stopped), (tmp_path / "second").write_text(repr(clean()))))
        time.sleep(0.2)  # whatever it does, it has the time for it
        early = [path.name for path in tmp_path.iterdir()]
        os.write(stopped, json.dumps({"net/ipv4/ip_forward": "0"}).encode())
        os.close(stopped)
        for pid in (first, second):
            os.waitpid(pid, 0)
        return early, [(tmp_path / "second").read_text(), *remains()]

    assert on_a_machine_of_its_own(act) == ([], ["[]"])


def test_a_process_that_is_about_to_die_is_not_waited_for_and_a_dead_one_does_not_matter() -> None:
    with held(lambda: None) as pid:
        started = start_time(pid)
        end_process(pid, started)
        end_process(pid, started)
        assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT).si_status == signal.SIGKILL


def test_a_name_that_is_taken_again_while_somebody_waits_to_clean_it_is_left_alone() -> None:
    def act() -> tuple[bool, list[str]]:
        old = write("web", DEAD)
        with old.open("rb") as file:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
            reader, writer = os.pipe()
            if (pid := os.fork()) == 0:
                file.close()
                os.write(writer, b"x")
                clean()
                os._exit(0)
            os.read(reader, 1)
            time.sleep(0.1)  # most likely it waits by now; the test holds in any case
            old.unlink()
            new = Journal.claim("web")
        os.waitpid(pid, 0)
        return read(new.path).alive, remains()

    assert on_a_machine_of_its_own(act) == (True, ["web.journal"])
