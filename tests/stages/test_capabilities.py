"""Capabilities, from both sides: the sets in /proc/PID/status, and what is refused without them."""

import ctypes
import os
import socket
import subprocess
from pathlib import Path

import pytest

from scratchlab import linux
from scratchlab.errors import InputError, KernelError, StageError
from scratchlab.linux import Cap, Prctl
from scratchlab.stages.namespaces import unshare_net
from scratchlab.stages.privileges import DEFAULT, ambient, capabilities, no_new_privs, user
from tests.conftest import held, in_child, needs_root
from tests.stages.processes import refused, sets

pytestmark = needs_root


def test_nothing_outside_what_is_kept_is_left_in_any_set() -> None:
    kept = linux.mask(DEFAULT)

    with held(capabilities) as pid:
        found = sets(pid)

    assert found == {"CapInh": 0, "CapPrm": kept, "CapEff": kept, "CapBnd": kept, "CapAmb": 0}


def test_capsh_reads_the_same_names_and_a_program_gets_back_nothing() -> None:
    keep = ["CAP_NET_BIND_SERVICE", "chown", Cap.KILL]

    def act() -> str:
        capabilities(keep)
        return subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout

    effective = next(line.split()[1] for line in in_child(act).splitlines() if line.startswith("CapEff"))
    decoded = subprocess.run(["capsh", f"--decode={effective}"], capture_output=True, text=True, check=True).stdout
    assert decoded.strip().split("=")[1].split(",") == ["cap_chown", "cap_kill", "cap_net_bind_service"]


def test_inherited_and_ambient_capabilities_do_not_survive() -> None:
    def act() -> None:
        now = linux.capget()
        linux.capset(now._replace(inheritable=now.permitted))
        assert ctypes.CDLL(None).prctl(Prctl.CAP_AMBIENT, 2, Cap.CHOWN, 0, 0) == 0  # PR_CAP_AMBIENT_RAISE

    with held(act) as pid:
        assert sets(pid)["CapAmb"] == linux.mask([Cap.CHOWN])
    with held(lambda: (act(), capabilities(["CHOWN"]))) as pid:
        assert (sets(pid)["CapEff"], sets(pid)["CapInh"], sets(pid)["CapAmb"]) == (linux.mask([Cap.CHOWN]), 0, 0)


def test_what_a_capability_allowed_is_refused_without_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    def act() -> list[bool]:
        capabilities(["SETUID"])
        return [
            refused(lambda: os.chown(tmp_path / "file", 1, 1)),
            refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
            refused(unshare_net),
            refused(lambda: os.setuid(7)),
        ]

    assert in_child(act) == [True, True, True, False]
    assert (tmp_path / "file").stat().st_uid == 0


def test_dropping_twice_and_dropping_what_was_never_there_work() -> None:
    def act() -> None:
        capabilities()
        capabilities([*DEFAULT, Cap.SYS_RESOURCE, Cap.SYS_ADMIN])  # asks for more than is left

    with held(act) as pid:
        assert sets(pid)["CapEff"] == sets(pid)["CapBnd"] == linux.mask(DEFAULT)


def test_numbers_names_and_a_single_name_mean_the_same() -> None:
    def kept(keep: object) -> int:
        return in_child(lambda: (capabilities(keep), linux.capget().effective)[1])  # type: ignore[arg-type]

    assert {kept(keep) for keep in ("CAP_KILL", ["kill"], (Cap.KILL,), [int(Cap.KILL)], iter(["Kill"]))} == {
        linux.mask([Cap.KILL])
    }


@pytest.mark.parametrize("keep", [["FLY"], "", [""], [64], [-1], ["CAP_"]])
def test_an_unknown_capability_is_refused_before_anything_is_dropped(keep: list[str]) -> None:
    def act() -> int:
        try:
            capabilities(keep)
        except InputError:
            return linux.capget().effective
        return 0

    assert in_child(act) == linux.capget().effective


# -- for other users than root ----------------------------------------------------------------------------------------


def of_a_program() -> dict[str, int]:
    """The sets of a program that is executed here."""
    text = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    return {line.split()[0].rstrip(":"): int(line.split()[1], 16) for line in text.splitlines() if line.startswith("Cap")}


def test_a_user_can_keep_capabilities_until_they_are_dropped_but_programs_get_none() -> None:
    kept = linux.mask([Cap.KILL])

    def act() -> tuple[dict[str, int], dict[str, int]]:
        user(1000, keep_capabilities=True)
        capabilities(["KILL"])
        return sets("self"), of_a_program()

    ours, programs = in_child(act)
    assert ours == {"CapInh": 0, "CapPrm": kept, "CapEff": kept, "CapBnd": kept, "CapAmb": 0}
    assert programs == {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": kept, "CapAmb": 0}


def test_ambient_capabilities_reach_the_programs_of_an_ordinary_user() -> None:
    def act() -> tuple[int, bool]:
        user(1000, keep_capabilities=True)
        capabilities(["NET_BIND_SERVICE", "KILL"])
        ambient(["NET_BIND_SERVICE"])
        no_new_privs()
        return of_a_program()["CapEff"], refused(lambda: os.setuid(0))

    assert in_child(act) == (linux.mask([Cap.NET_BIND_SERVICE]), True)


@pytest.mark.parametrize(("names", "complaint"), [(["CHOWN"], "CHOWN is not permitted"), (["FLY"], "not a capability")])
def test_what_is_not_there_cannot_be_handed_on(names: list[str], complaint: str) -> None:
    with pytest.raises((StageError, InputError), match=complaint):
        in_child(lambda: (user(1000), ambient(names)))


def test_capabilities_after_user_says_which_order_works() -> None:
    with pytest.raises(KernelError, match="before user"):
        in_child(lambda: (user(1000), capabilities()))

    assert in_child(lambda: (capabilities(), user(1000), linux.capget().permitted)[2]) == 0
