"""The default container before its judges: every claim, each judge's own word, and that a missing wall is found out."""

import json
import re
import socket
from pathlib import Path

import pytest

from scratchlab.errors import HostError
from scratchlab.judges import Evidence, Judgement, calls, judge
from scratchlab.judges.questions import QUESTIONS, bounding_by_capsh
from scratchlab.judges.tools import PROGRAMS
from scratchlab.linux.numbers import here
from tests.command_line import complains, scratchlab
from tests.compare.conftest import needs_program
from tests.compare.engines import Docker, oci
from tests.conftest import needs_root

pytestmark = [needs_root, *(needs_program(program, package) for program, package in PROGRAMS.items())]


@pytest.fixture(scope="module")
def judgement() -> Judgement:
    """One trial for all claims; only docker is not asked."""
    return judge()


@pytest.fixture(scope="module")
def ours(judgement: Judgement) -> Evidence:
    return judgement.evidence[0]


@pytest.fixture(scope="module")
def runc(judgement: Judgement) -> Evidence:
    return judgement.evidence[1]


def fallen(found: Judgement) -> set[str]:
    """The claims that do not hold."""
    return {ruling.what for ruling in found.rulings if ruling.binding and not ruling.holds}


@pytest.mark.parametrize("what", [question.what for question in QUESTIONS])
def test_each_claim_holds_against_runc_with_its_default_configuration(what: str, judgement: Judgement) -> None:
    ruling = next(ruling for ruling in judgement.rulings if ruling.what == what and ruling.binding)

    assert ruling.peer.startswith("runc ")
    assert ruling.against == ()


# -- the judges are not asleep ----------------------------------------------------------------------------------------

WALLS = {
    "capabilities": {"effective", "permitted", "bounding", "bounding, by capsh"},
    "no_new_privs seccomp": {"switches set"},  # who has not promised the one may not do the other
    "mask": {"masked paths", "files of /proc that say something"},
    "readonly": {"read-only paths"},
    "unshare_pid": {"namespaces that are its", "its processes"},
    # The host's /sys comes with its network.
    "unshare_net loopback veth nat input_drop resolv": {"its network links", "its mounts", "its abstract sockets"},
}


@pytest.mark.parametrize("stages", WALLS)
def test_without_the_stage_its_claim_falls(stages: str) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("\0scratchlab-judged")  # an abstract one, for the host to have any
        found = judge(without=stages.split())

    assert fallen(found) >= WALLS[stages]
    assert not found.holds


def test_the_judges_see_runc_as_its_own_configuration_is(runc: Evidence, peer_rootfs: Path, tmp_path: Path) -> None:
    with oci("runc", peer_rootfs, tmp_path / "spec"):
        config = json.loads((tmp_path / "spec/config.json").read_text())

    held = {name.removeprefix("CAP_") for name in config["process"]["capabilities"]["bounding"]}
    assert runc.capabilities["bounding"] == held == bounding_by_capsh(runc.capsh)
    assert runc.no_new_privs and runc.filters == 0


def test_capsh_agrees_with_the_kernel(ours: Evidence) -> None:
    assert bounding_by_capsh(ours.capsh) == ours.capabilities["bounding"]
    assert "no-new-privs=1" in ours.capsh


# -- system calls -----------------------------------------------------------------------------------------------------


def test_no_call_that_is_tried_blocks_ends_the_probe_or_is_left_out(ours: Evidence, runc: Evidence) -> None:
    for evidence in (ours, runc):
        assert set(evidence.calls) == set(here()) - set(calls.SKIPPED) | set(calls.ALSO)
        assert {answer for answer in evidence.calls.values() if not re.fullmatch("0|E[A-Z0-9]+", answer)} == set()


def test_a_call_that_needs_a_capability_is_refused_and_an_ordinary_one_is_made(ours: Evidence) -> None:
    assert {"read", "openat", "getpid", "socket", "futex", "kill", "clone", "execve", "fchmod"} <= ours.allowed
    assert not {"pivot_root", "swapoff", "sethostname", "setdomainname", "init_module", "acct"} & ours.allowed


def test_what_our_filter_refuses_runc_would_make(ours: Evidence, runc: Evidence) -> None:
    refused = {"add_key", "keyctl", "unshare", "mount", "ptrace", "clone of a user namespace", "chmod to setuid"}

    assert ours.filters and not runc.filters
    assert refused <= runc.allowed
    assert not refused & ours.allowed
    assert {ours.calls[name] for name in refused} == {"EPERM"}


def test_a_call_that_is_not_tried_has_a_reason_and_exists() -> None:
    # Some are older than one of the two machines.
    assert all(reason for reason in calls.SKIPPED.values())
    assert {"exit", "exit_group", "reboot", "rt_sigreturn"} <= set(here()) & set(calls.SKIPPED)
    assert not set(calls.to_try()) & set(calls.SKIPPED)


def test_no_call_is_tried_with_anything_that_means_something() -> None:
    for name, (_, arguments) in calls.to_try().items():
        assert len(arguments) == 6
        assert set(arguments) == {-1} or name in calls.INSTEAD | calls.ALSO


# -- docker, the command ----------------------------------------------------------------------------------------------


@needs_program("dockerd", "docker.io")
def test_docker_is_asked_too_and_binds_nobody(docker: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker.address)
    images = docker.do("images", "--quiet")
    found = judge()

    ours, _, dockers, *_ = found.evidence
    assert dockers.engine.startswith("docker ")
    assert len(dockers.capabilities["bounding"]) == 14 and dockers.filters == 1 and not dockers.no_new_privs
    assert not {ruling.binding for ruling in found.rulings if ruling.peer == dockers.engine} - {False}
    assert ours.capabilities["bounding"] < dockers.capabilities["bounding"]
    assert {"add_key", "mount", "unshare"} & dockers.allowed == set()
    assert docker.do("images", "--quiet") == images  # what was imported for the probe is gone


@needs_program("podman", "podman")
def test_podman_is_asked_too_and_leaves_nothing(judgement: Judgement) -> None:
    podman = next(evidence for evidence in judgement.evidence if evidence.engine.startswith("podman "))

    assert podman.filters == 1 and "SYS_CHROOT" in podman.capabilities["bounding"]
    assert list(Path("/sys/fs/cgroup").glob("*/scratchlab/judge-*")) == []


def test_the_command_prints_the_table_and_its_status_is_the_verdict() -> None:
    done = scratchlab("judge")

    assert (done.returncode, done.stderr) == (0, "")
    assert max(len(line) for line in done.stdout.partition("claim")[2].splitlines()) <= 120
    assert f"{len(QUESTIONS)} of {len(QUESTIONS)} claims hold: every one" in done.stdout
    assert done.stdout.startswith("Current: ")  # capsh

    done = scratchlab("judge", "--json", "--without", "mask")
    assert done.returncode == 1
    data = json.loads(done.stdout)
    assert not data["holds"] and data["calls"]["ours"]["read"] == "EBADF"


def test_what_cannot_be_judged_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complains(2, "there is no root filesystem", "judge", tmp_path / "nowhere")
    complains(2, "no such stage", "judge", "--without", "nothing")
    complains(125, "you are not root", "judge", nobody=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match=r"a judge is not here: .*runc \(runc\)"):
        judge()


def test_the_bounding_set_is_read_from_what_capsh_prints() -> None:
    assert bounding_by_capsh("Current: =\nBounding set =cap_kill,cap_setuid\nAmbient set =\n") == {"KILL", "SETUID"}
    assert bounding_by_capsh("Bounding set =\n") == bounding_by_capsh("") == frozenset()


def test_the_page_about_the_judges_shows_every_question() -> None:
    page = Path(__file__).parent.parent.parent.joinpath("docs/judges.md").read_text()

    assert [question.what for question in QUESTIONS if f"  {question.what}  " not in page] == []
