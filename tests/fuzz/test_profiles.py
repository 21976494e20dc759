"""Seccomp profiles, security options, ids to give away, and what the packet filter says: a value or an error of ours.

How much is tried, and how to try more: profile.py.
"""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlab.errors import InputError
from scratchlab.linux import bpf
from scratchlab.linux.nftrace import parse_trace
from scratchlab.observe.packet import parse_endpoint, parse_rules
from scratchlab.observe.usage import parse_pressure
from scratchlab.security import Options, parse_options
from scratchlab.stages.profiles import DEFAULT, Facts, parse_profile, read_profile
from scratchlab.stages.subids import parse_subids
from tests.fuzz.profile import any_text, damaged, damaged_bytes, examples, json_values, outcome


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the one in conftest.py: nothing here does more than read files of its own."""


# -- seccomp profiles -------------------------------------------------------------------------------------------------

HERE = Facts("x86_64", (6, 1), lambda _name: False)
rules = st.fixed_dictionaries(
    {},
    optional={
        "names": st.lists(st.sampled_from(["read", "clone", "fly", ""])) | json_values,
        "name": st.just("read") | json_values,
        "action": st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"]) | json_values,
        "args": st.lists(st.sampled_from([{"index": 0, "value": 5, "op": "SCMP_CMP_EQ"}, {"index": 9}, {}, None])) | json_values,
        "errnoRet": st.integers(-1, 5000) | json_values,
        "errno": st.sampled_from(["EPERM", "EFLY", "errorcode"]) | json_values,
        "includes": st.sampled_from([{"caps": ["CAP_SYS_ADMIN"]}, {"minKernel": "4.8"}, {"arches": 5}]) | json_values,
        "excludes": json_values,
    },
)
profiles = st.fixed_dictionaries(
    {"defaultAction": st.just("SCMP_ACT_ERRNO") | json_values},
    optional={"syscalls": st.lists(rules, max_size=4) | json_values, "archMap": json_values, "defaultErrnoRet": json_values},
)


@given(profiles | json_values)
@examples(400)
def test_any_profile_is_a_filter_or_refused(document: object) -> None:
    found = outcome(parse_profile, document, HERE)

    if not isinstance(found, InputError):
        assert bpf.assemble(bpf.program(found, "x86_64"))


@given(damaged_bytes(st.just(Path(DEFAULT).read_bytes()[:600])) | st.just(b"[" * 100_000))
@examples(100)
def test_any_file_is_a_profile_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "profile.json"
    file.write_bytes(data)

    assert isinstance(outcome(read_profile, str(file)), dict | InputError)


SUBIDS = "ann:100000:65536\n1000:200000:65536\n# nobody\nbob:1:1\n"


@given(damaged(st.just(SUBIDS)), st.sampled_from(["ann", "", "1000"]) | any_text, st.integers(0, 1 << 32))
@examples(200)
def test_any_subordinate_ids_are_ranges_of_real_ids(text: str, name: str, uid: int) -> None:
    assert all(0 <= found.first <= found.last < 1 << 32 for found in outcome(parse_subids, text, name, uid))


# -- options ----------------------------------------------------------------------------------------------------------


@given(
    st.lists(
        damaged(st.sampled_from(["seccomp=unconfined", "no-new-privileges=false", "label=type:x", "apparmor=y"])), max_size=3
    )
)
@examples(200)
def test_any_security_options_are_read_or_refused(texts: list[str]) -> None:
    assert isinstance(outcome(parse_options, texts), Options | InputError)


@given(damaged(st.just("127.0.0.1:8080/udp")) | any_text)
@examples(150)
def test_any_endpoint_is_read_or_refused(text: str) -> None:
    assert isinstance(outcome(parse_endpoint, text), tuple | InputError)


# -- the packet filter and the pressure -------------------------------------------------------------------------------

TABLE = """table ip scratchlab-web { # handle 3
\tchain forward { # handle 1
\t\ttype filter hook forward priority filter; policy accept;
\t\toifname "veth-web" counter packets 5 bytes 420 drop # handle 7
"""


@given(damaged(st.just(TABLE)) | any_text)
@examples(150)
def test_any_table_is_read(text: str) -> None:
    outcome(parse_rules, text)


@given(damaged(st.just("some avg10=0.00 avg60=0.00 avg300=0.00 total=2468\nfull avg10=0.00 total=12\n")) | any_text)
@examples(150)
def test_any_pressure_is_a_number(text: str) -> None:
    assert outcome(parse_pressure, text) >= 0


header = b"\x60\0\0\0\x11\x0a\0\0" + bytes(8) + b"\x02\0\0\0"


@given(st.binary(max_size=120).map(lambda data: header + data) | st.binary())
@examples(200)
def test_any_trace_is_an_event_or_nothing(data: bytes) -> None:
    outcome(parse_trace, data)
