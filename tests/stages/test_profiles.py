"""Seccomp profiles: read as the engines read them; and what ours says. No root needed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlab.errors import InputError
from scratchlab.linux import Cap, bpf
from scratchlab.linux.bpf import Filter
from scratchlab.linux.numbers import table
from scratchlab.stages.filters import OURS
from scratchlab.stages.privileges import FEW
from scratchlab.stages.profiles import Facts, parse_profile, read_profile, refuse
from tests.linux.bpf_machine import decide
from tests.stages.profile_questions import ALLOWED, code

ENOSYS, EPERM, EINVAL, EPROTONOSUPPORT, EAFNOSUPPORT = (0x50000 + number for number in (38, 1, 22, 93, 97))


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the one in conftest.py, which asks the machine twice for each test: nothing here touches the machine."""


# -- what ours says ---------------------------------------------------------------------------------------------------


def verdict(name: str, *arguments: int, capabilities: tuple[Cap, ...] = FEW) -> int:
    return decide(code(OURS, capabilities=capabilities), "x86_64", table("x86_64")[name], arguments)


SETUID, SETGID, CREATE, TMPFILE = 0o4000, 0o2000, 0o100, 0o20000000

MAKES_SETUID = {
    "chmod": (0, SETUID | 0o755),
    "fchmod": (3, SETGID | 0o755),
    "fchmodat": (3, 0, SETUID | SETGID),
    "creat": (0, SETUID),
    "mknod": (0, 0o100000 | SETUID | 0o755),
    "mknodat": (3, 0, 0o100000 | SETGID),
    "open": (0, CREATE | 1, SETUID | 0o755),
    "openat": (3, 0, TMPFILE | 2, SETGID | 0o700),
}


@pytest.mark.parametrize("name", MAKES_SETUID)
def test_no_call_makes_a_setuid_file_unless_its_capability_is_kept(name: str) -> None:
    *others, mode = MAKES_SETUID[name]

    assert verdict(name, *others, mode) == EPERM
    # The kernel looks at the lower bits of a mode only.
    assert verdict(name, *others, mode | 1 << 40) == EPERM
    assert verdict(name, *others, mode & ~(SETUID | SETGID)) == ALLOWED
    assert verdict(name, *others, mode, capabilities=(Cap.FSETID,)) == ALLOWED


def test_a_mode_that_the_kernel_does_not_look_at_may_be_anything() -> None:
    assert verdict("open", 0, 0, SETUID) == verdict("openat", 3, 0, 1, 0xFFFFFFFF) == ALLOWED


def test_what_takes_its_mode_or_flags_from_memory_is_not_implemented() -> None:
    assert [verdict(name) for name in ("openat2", "fchmodat2", "clone3")] == [ENOSYS] * 3


@pytest.mark.parametrize("flag", [1 << 17, *(1 << bit for bit in range(25, 31))])
def test_clone_makes_processes_and_threads_but_no_namespace(flag: int) -> None:
    assert verdict("clone", 0x1200011) == verdict("clone", 0x3D0F00) == ALLOWED
    assert verdict("clone", flag | 17) == EPERM
    assert verdict("clone", flag | 17, capabilities=(Cap.SYS_ADMIN,)) == ALLOWED


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ((1, 1, 0), ALLOWED), ((2, 2, 0), ALLOWED), ((10, 1, 6), ALLOWED), ((16, 3, 0), ALLOWED), ((16, 3, 4), ALLOWED),
        ((16, 3, 9), ALLOWED), ((16, 3, 12), EPROTONOSUPPORT), ((17, 3, 3), EAFNOSUPPORT), ((38, 5, 0), EAFNOSUPPORT),
        ((40, 1, 0), EAFNOSUPPORT), ((3, 5, 0), ENOSYS),
    ],
)  # fmt: skip
def test_sockets_are_those_that_programs_need(arguments: tuple[int, ...], answer: int) -> None:
    assert verdict("socket", *arguments) == answer


def test_capabilities_open_what_they_are_for() -> None:
    opened = {"mount": Cap.SYS_ADMIN, "ptrace": Cap.SYS_PTRACE, "chroot": Cap.SYS_CHROOT, "reboot": Cap.SYS_BOOT}

    for name, cap in opened.items():
        assert (verdict(name), verdict(name, capabilities=(cap,))) == (EPERM, ALLOWED)
    assert verdict("socket", 16, 3, 9, capabilities=()) == EINVAL
    assert verdict("socket", 17, 3, 3, capabilities=(Cap.NET_RAW,)) == ALLOWED


@pytest.mark.parametrize(
    "name",
    [
        "keyctl", "add_key", "request_key", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "userfaultfd",
        "bpf", "perf_event_open", "open_by_handle_at", "mount", "umount2", "move_mount", "fsopen", "fsmount", "open_tree",
        "mount_setattr", "pivot_root", "unshare", "setns", "io_uring_setup", "io_uring_enter", "kexec_load", "init_module",
        "finit_module", "swapon", "reboot", "syslog", "acct", "settimeofday", "iopl", "ioperm", "modify_ldt",
    ],
)  # fmt: skip
def test_what_leads_out_or_deep_into_the_kernel_is_refused_by_a_rule_of_its_own(name: str) -> None:
    assert verdict(name) == EPERM


# -- reading profiles -------------------------------------------------------------------------------------------------


def parsed(*entries: object, kernel: tuple[int, int] = (5, 10), **more: object) -> Filter:
    facts = Facts("x86_64", kernel, {"CAP_SYS_ADMIN"}.__contains__)
    return parse_profile({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(entries), **more}, facts)


def allow(*words: str, **more: object) -> dict[str, object]:
    return {"names": list(words), "action": "SCMP_ACT_ALLOW", **more}


@pytest.mark.parametrize(
    ("selection", "applies"),
    [
        ({}, True),
        ({"includes": None, "excludes": {}, "args": None, "comment": ""}, True),
        ({"includes": {"arches": ["amd64", "x32"]}}, True),
        ({"includes": {"arches": ["arm64"]}}, False),
        ({"excludes": {"arches": ["amd64"]}}, False),
        ({"includes": {"caps": ["CAP_SYS_ADMIN"]}}, True),
        ({"includes": {"caps": ["CAP_SYS_ADMIN", "CAP_NET_RAW"]}}, False),
        ({"excludes": {"caps": ["CAP_NET_RAW", "CAP_SYS_ADMIN"]}}, False),
        ({"includes": {"minKernel": "4.8"}}, True),
        ({"includes": {"minKernel": "5.10"}}, True),
        ({"includes": {"minKernel": "5.11"}}, False),
        ({"excludes": {"minKernel": "5.10"}}, False),
    ],
)
def test_rules_for_some_machines_capabilities_and_kernels(selection: dict[str, object], applies: bool) -> None:
    assert ("read" in parsed(allow("read", **selection)).rules) == applies


def test_the_older_and_the_other_spellings_mean_the_same() -> None:
    new = parsed({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}, allow("write"))
    podman = parsed({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errno": "ENOSYS"}, allow("write"))
    old = parsed({"name": "read", "action": "SCMP_ACT_ERRNO", "errnoRet": 38}, {"name": "write", "action": "SCMP_ACT_ALLOW"})

    assert new == podman == old
    assert parsed(defaultErrnoRet=38).otherwise == parsed(defaultErrno="ENOSYS").otherwise != parsed().otherwise


def test_unknown_names_are_passed_over_as_the_engines_do() -> None:
    assert bpf.program(parsed(allow("read", "osf_syscall")), "x86_64") == bpf.program(parsed(allow("read")), "x86_64")


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("read", "is an object"),
        ({"names": ["read"]}, '"action"'),
        (allow(), "a name in"),
        ({**allow("read"), "action": "SCMP_ACT_NOTIFY"}, "second process"),
        ({**allow("read"), "action": "ALLOW"}, "no such action"),
        (allow("read", args=[{"index": 6, "op": "SCMP_CMP_EQ"}]), "0 to 5"),
        (allow("read", args=[{"index": 0, "op": "=="}]), "no such comparison"),
        (allow("read", args=[{"index": 0, "op": "SCMP_CMP_EQ", "value": -1}]), "value"),
        (allow("read", args=[{"index": 0, "op": "SCMP_CMP_EQ", "value": 1.5}]), "value"),
        (allow("read", includes={"minKernel": "new"}), "not a version"),
        ({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096}, "0 to 4095"),
    ],
)
def test_what_is_no_profile_is_refused_and_the_place_is_named(entry: object, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        parsed(entry)


WORDS = [
    "defaultAction", "syscalls", "names", "name", "action", "args", "index", "op", "value", "valueTwo", "errnoRet", "errno",
    "includes", "excludes", "caps", "arches", "minKernel",
]  # fmt: skip
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
sensible = st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_CMP_EQ", "read", "5.10", "EPERM", 0, 1, 5])
json_values = st.recursive(
    leaves | sensible,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=20,
)


@given(document=json_values, entries=st.lists(json_values, max_size=3))
def test_any_json_is_a_profile_or_an_input_error(document: object, entries: list[object]) -> None:
    facts = Facts("x86_64", (6, 1), lambda name: len(name) % 2 == 0)
    for each in (document, {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": entries}):
        try:
            found = parse_profile(each, facts)
        except InputError:
            continue
        bpf.assemble(bpf.program(found, "x86_64"))


@given(data=st.binary(max_size=40))
def test_any_file_is_a_profile_or_an_input_error(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "profile.json"
    path.write_bytes(data)
    try:
        assert isinstance(read_profile(str(path)), dict)
    except InputError as error:
        assert str(path) in str(error)


def test_a_file_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)

    with pytest.raises(InputError, match="not JSON"):
        read_profile(str(tmp_path / "deep.json"))


def test_a_mistyped_name_in_a_list_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InputError, match="perhaps mount"):
        refuse(["mkdir", "moutn"], table("x86_64"))
