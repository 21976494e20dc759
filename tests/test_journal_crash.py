"""SIGKILL to a journal's owner, at any line: what it had made is taken back, and nobody else is harmed."""

import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import pytest

from scratchlab import journal, shared
from scratchlab.errors import SandboxError
from scratchlab.journal import Journal, clean, journals, read, start_time
from scratchlab.shared import hold_mount_point, hold_sysctl, run_directory
from tests.conftest import eventually, needs_root
from tests.stages.processes import started
from tests.test_shared import KEY, on_a_machine_of_its_own, sysctl

pytestmark = needs_root


LINK = "/proc/sys/net/ipv4/conf/lo/forwarding"


def state() -> list[str]:
    """Every file of ours on this machine, but for the lock that stays."""
    return sorted(
        str(path.relative_to("/run/scratchlab")) for path in run_directory().rglob("*") if path.name not in ("lock", "shared")
    )


def test_clean_leaves_the_living_alone_and_takes_back_what_the_dead_left(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    def act() -> list[object]:
        owner = started(lambda: Journal.claim("web").will("file", path=str(tmp_path / "file")))
        seen: list[object] = [clean(), (tmp_path / "file").exists(), [found.alive for found in journals()]]
        os.kill(owner, signal.SIGKILL)
        eventually(lambda: start_time(owner), 0)
        # Not yet waited for: a zombie owns nothing any more.
        seen += [clean(), (tmp_path / "file").exists(), state()]
        os.waitpid(owner, 0)
        return seen

    assert on_a_machine_of_its_own(act) == [[], True, [True], ["web"], False, []]


def test_an_owner_of_another_boot_or_a_reused_pid_is_dead() -> None:
    def act() -> list[str]:
        for name, change in (("boot", {"boot": "another"}), ("pid", {"started": 1})):
            made = Journal.claim(name)
            owner = {**read(made.path).owner, **change}
            made.path.write_text(json.dumps(owner) + "\n")
        return clean()

    assert on_a_machine_of_its_own(act) == ["boot", "pid"]


def test_a_journal_without_an_owner_is_a_dead_ones_unless_it_is_being_signed() -> None:
    def act() -> list[object]:
        path = run_directory() / "web.journal"
        path.touch()
        seen: list[object] = [clean(), state()]
        with ThreadPoolExecutor() as pool:
            with shared.locked():
                path.touch()
                cleaned = pool.submit(clean)
                assert eventually(somebody_waits_for_a_lock, True)
                path.write_text(json.dumps({"owner": os.getpid(), "started": start_time(os.getpid()), "boot": journal.boot_id()}))
            return [*seen, cleaned.result(), state()]

    assert on_a_machine_of_its_own(act) == [["web"], [], [], ["web.journal"]]


def somebody_waits_for_a_lock() -> bool:
    """Whether a thread of this process does.  proc_locks(5)"""
    waiting = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return any(int(words[5]) == os.getpid() for words in waiting)


def test_one_sandbox_that_cannot_be_cleaned_does_not_keep_the_others_from_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    def act() -> list[str]:
        def make() -> None:
            Journal.claim("a-bad").will("file", path=str(tmp_path))
            Journal.claim("b-good").will("file", path=str(tmp_path / "file"))

        owner = started(make)
        os.kill(owner, signal.SIGKILL)
        os.waitpid(owner, 0)
        with pytest.raises(SandboxError, match="a-bad"):
            clean()
        return state()

    assert on_a_machine_of_its_own(act) == ["a-bad.journal"]
    assert not (tmp_path / "file").exists()


def test_a_process_is_killed_only_if_it_is_still_the_same() -> None:
    pid = started(lambda: None)

    journal.end_process(pid, start_time(pid) + 1)
    assert start_time(pid)
    journal.end_process(pid, start_time(pid))
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    journal.end_process(pid, 1)  # gone: nothing to do


def test_many_cleaners_at_once_take_everything_back_once(tmp_path: Path) -> None:
    def act() -> tuple[list[int], list[str], str]:
        def make() -> None:
            for number in range(10):
                made = Journal.claim(f"box-{number}")
                made.will("sysctl", key=KEY, value="1", holder=made.name)
                hold_sysctl(KEY, "1", made.name)

        owner = started(make)
        os.kill(owner, signal.SIGKILL)
        os.waitpid(owner, 0)
        cleaners = []
        for _ in range(6):
            if (pid := os.fork()) == 0:
                clean()
                os._exit(0)
            cleaners.append(pid)
        return [os.waitpid(pid, 0)[1] for pid in cleaners], state(), sysctl()

    assert on_a_machine_of_its_own(act) == ([0] * 6, [], "0")


# -- SIGKILL at every line --------------------------------------------------------------------------------------------


def die_at(line: int) -> None:
    """Kill this process with SIGKILL at the `line`th line of journal.py and shared.py that it comes to."""
    ours = {journal.__file__, shared.__file__}
    left = line

    def trace(frame: FrameType, event: str, _argument: object) -> object:
        nonlocal left
        # And in the middle of writing a file: between opening it, which empties it, and the text.
        if frame.f_code.co_filename not in ours and frame.f_code.co_name != "write_text":
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)  # type: ignore[arg-type]


def make_and_take_back(where: Path) -> None:
    """A sandbox's life: three kinds of things on the host, each journalled first, then all of them taken back."""
    made = Journal.claim("web")
    made.will("sysctl", key=KEY, value="1", holder=made.name)
    hold_sysctl(KEY, "1", made.name)
    for name, directory in (("data", True), ("data/file", False)):
        made.will("mount_point", path=str(where / name), directory=directory, holder=made.name)
        hold_mount_point(str(where / name), directory, made.name)
    made.will("file", path=str(where / "other"))
    (where / "other").touch()
    made.close()


def killed_at(line: int, where: Path) -> bool:
    """Whether the process came as far as `line` and was killed there."""
    pid = os.fork()
    if pid == 0:
        die_at(line)
        make_and_take_back(where)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def test_killed_at_any_line_nothing_is_left_after_clean(tmp_path: Path) -> None:
    def act() -> tuple[int, list[object]]:
        Path(LINK).write_text("1")  # a switch of its own, which the kernel resets with ip_forward
        line, left = 1, []
        while killed_at(line, tmp_path):
            for empty in run_directory().glob("*.journal"):
                if not read(empty).owner:  # killed before it wrote its name: counts as dead only after a while
                    os.utime(empty, (0, 0))
            clean()
            found = (sysctl(), Path(LINK).read_text(), os.listdir(tmp_path), state())
            if found != ("0", "1\n", [], []):
                left.append((line, found))
            line += 1
        return line, left

    lines, left = on_a_machine_of_its_own(act)  # type: ignore[misc]
    assert left == []
    assert lines > 200


def test_a_second_sandbox_is_whole_whatever_line_the_first_was_killed_at(tmp_path: Path) -> None:
    def act() -> tuple[int, list[object]]:
        line, wrong = 1, []
        while killed_at(line, tmp_path):
            # Born before the first was cleaned, as it happens when many start at once.
            second = Journal.claim("second")
            second.will("sysctl", key=KEY, value="1", holder=second.name)
            hold_sysctl(KEY, "1", second.name)
            second.will("mount_point", path=str(tmp_path / "data"), directory=True, holder=second.name)
            hold_mount_point(str(tmp_path / "data"), True, second.name)
            for empty in run_directory().glob("web*.journal"):
                os.utime(empty, (0, 0))
            clean()
            during = (sysctl(), (tmp_path / "data").is_dir())
            second.close()
            after = (sysctl(), sorted(os.listdir(tmp_path)), state())
            if (during, after) != (("1", True), ("0", [], [])):
                wrong.append((line, during, after))
            line += 1
        return line, wrong

    lines, wrong = on_a_machine_of_its_own(act)  # type: ignore[misc]
    assert wrong == []
    assert lines > 200
