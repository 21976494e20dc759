"""What an attack is: said in words, run apart, bounded, and with no more in its hands than a program would inherit."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scratchlab.attacks import ATTACKS, Evidence, about, attack
from scratchlab.stages import STAGES
from scratchlab.trials.baits import BAITS
from scratchlab.trials.hosts import HOST_WALLS
from tests.conftest import eventually


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_says_what_it_tries_where_it_was_seen_and_what_stops_it(name: str) -> None:
    said = about(ATTACKS[name])

    assert re.search(r"\.  [\w.-]+\([1-8]\)$", (ATTACKS[name].__doc__ or "").splitlines()[0])
    assert said.man and all(re.fullmatch(r"[\w.-]+\([1-8]\w*\)", page) for page in said.man)
    assert said.stopped_by and set(said.stopped_by) <= STAGES.keys() | HOST_WALLS
    assert said.history and said.side in ("inside", "outside")


def test_every_attack_has_bait_and_all_bait_an_attack() -> None:
    assert set(BAITS) == set(ATTACKS)


# -- in a child -------------------------------------------------------------------------------------------------------

Try = Callable[[Callable[[], Evidence]], Evidence]


@pytest.fixture
def attempt() -> Iterator[Try]:
    """Try a function as an attack that has half a second."""

    def made(function: Callable[[], Evidence]) -> Evidence:
        return attack("none(1)", stopped_by=(), seconds=0.5)(function)()

    before = dict(ATTACKS)
    yield made
    ATTACKS.clear()
    ATTACKS.update(before)


def test_it_works_in_a_process_of_its_own(attempt: Try) -> None:
    def tell() -> Evidence:
        os.chdir("/proc")
        return Evidence(True, f"{os.getpid()} leads {os.getpgid(0)}")

    here = Path.cwd()
    pid, leader = re.findall(r"\d+", attempt(tell).seen)

    assert pid == leader != str(os.getpid())
    assert Path.cwd() == here


def test_a_refusal_is_evidence_in_one_line(attempt: Try) -> None:
    def refused() -> Evidence:
        raise PermissionError(1, "no", "/etc/door")

    def confused() -> Evidence:
        raise ValueError("what?")

    def out_of_time() -> Evidence:
        raise TimeoutError("timed out")

    assert attempt(refused) == Evidence(False, "/etc/door: EPERM")
    assert attempt(confused) == Evidence(False, "ValueError: what?")
    assert attempt(out_of_time) == Evidence(False, "timed out")


def test_one_that_is_killed_or_says_nothing_is_said_to_be(attempt: Try) -> None:
    assert attempt(lambda: os.kill(os.getpid(), signal.SIGSYS) or Evidence(True, "")) == Evidence(False, "killed by SIGSYS")
    assert attempt(lambda: os._exit(3)) == Evidence(False, "died")


def test_one_that_never_ends_is_ended_and_all_that_it_started_too(attempt: Try, tmp_path: Path) -> None:
    def forever() -> Evidence:
        if child := os.fork():
            (tmp_path / "pid").write_text(str(child))
        while True:
            signal.pause()

    assert attempt(forever) == Evidence(False, "nothing came of it in 0.5 s")
    assert eventually(lambda: not _lives(int((tmp_path / "pid").read_text())))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_holds_the_files_that_a_started_program_would(attempt: Try, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept, closed = (os.open(tmp_path / "file", os.O_RDONLY) for _ in range(2))
    os.set_inheritable(kept, True)

    def look() -> Evidence:
        return Evidence(True, " ".join(str(fd) for fd in (kept, closed) if Path(f"/proc/self/fd/{fd}").exists()))

    assert attempt(look).seen == str(kept)
    os.close(kept)
    os.close(closed)
