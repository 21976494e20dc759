"""Our seccomp profile against the engines': it allows no more, and their compiler decides as ours. No root needed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlab.linux import Cap
from scratchlab.linux.numbers import MACHINES
from scratchlab.stages.filters import OURS
from scratchlab.stages.privileges import DEFAULT, FEW
from scratchlab.stages.profiles import read_profile
from tests.conftest import needs
from tests.linux import libseccomp
from tests.stages.profile_questions import ALLOWED, answers, code, named, questions

ENGINES = Path("/usr/share/containers/seccomp.json")

pytestmark = needs(ENGINES.exists(), "needs the engines' profile: apt-get install golang-github-containers-common")

CAPABILITIES: dict[str, tuple[Cap, ...]] = {"none": (), "few": FEW, "engines": DEFAULT, "all": tuple(Cap)}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the one in conftest.py, which asks the machine twice for each test: nothing here touches the machine."""


def more_allowed(machine: str, capabilities: tuple[Cap, ...]) -> set[object]:
    """What ours allows, and the engines' does not."""
    engines = read_profile(str(ENGINES))
    asked = questions(OURS, engines)
    ours, theirs = (answers(code(profile, machine, capabilities), machine, asked) for profile in (OURS, engines))
    allowed = {question for question, answer in ours.items() if answer == ALLOWED}

    assert len({name for name, _ in allowed}) > 200
    return {question for question in allowed if theirs[question] != ALLOWED}


@pytest.mark.parametrize("kept", CAPABILITIES)
@pytest.mark.parametrize("machine", MACHINES)
def test_ours_allows_no_call_that_the_engines_refuse_with_the_same_capabilities(machine: str, kept: str) -> None:
    assert more_allowed(machine, CAPABILITIES[kept]) == set()


def test_no_single_capability_opens_more_than_in_the_engines() -> None:
    assert {cap.name: found for cap in Cap if (found := more_allowed("x86_64", (cap,)))} == {}


@needs(libseccomp.THERE, "needs libseccomp: apt-get install libseccomp2")
@pytest.mark.parametrize("kept", CAPABILITIES)
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("profile", [OURS, str(ENGINES)], ids=["ours", "engines"])
def test_libseccomp_makes_filters_that_decide_alike(profile: object, machine: str, kept: str) -> None:
    document = read_profile(profile) if isinstance(profile, str) else OURS
    capabilities, asked = CAPABILITIES[kept], questions(document)

    ours = answers(code(document, machine, capabilities), machine, asked)
    judge = answers(libseccomp.compiled(document, machine, named(capabilities)), machine, asked)
    assert {question: (answer, judge[question]) for question, answer in ours.items() if answer != judge[question]} == {}


words = st.one_of(st.integers(0, (1 << 64) - 1), st.sampled_from([0, 1, (1 << 32) - 1, 1 << 32, (1 << 64) - 1]))
comparisons = st.sampled_from(["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"])


@needs(libseccomp.THERE, "needs libseccomp: apt-get install libseccomp2")
@given(op=comparisons, value=words, second=words, near=st.integers(-1, 1), other=words)
def test_libseccomp_understands_every_comparison_alike(op: str, value: int, second: int, near: int, other: int) -> None:
    condition = {"index": 2, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": second}
    rule = {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": [condition]}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    asked = [("read", (0, 0, argument % (1 << 64))) for argument in (value + near, second + near, value & second, other)]

    ours = answers(code(profile), "x86_64", asked)
    assert ours == answers(libseccomp.compiled(profile, "x86_64", []), "x86_64", asked)
