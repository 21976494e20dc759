"""Finders as a whole: many causes, an order that can be read, and never a second error on top of the first."""

import errno
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scratchlab import linux
from scratchlab.errors import KernelError, causes, facts, keep_causes
from scratchlab.errors.cause import Asked, Cause
from scratchlab.linux import Cap
from tests.command_line import ENVIRONMENT
from tests.conftest import in_child, needs_root
from tests.errors import (
    test_cgroup_causes,
    test_mount_causes,
    test_network_causes,
    test_path_causes,
    test_privilege_causes,
    test_process_causes,
)

FINDERS = {finder for chain in (*causes.CAUSES.values(), *causes.ANY.values()) for finder in chain}
STRANGE = [
    {},
    {"path": "NULL", "file": '"', "pid": "many", "flags": "?", "addr": "()", "text": "", "data": '"="', "fd": "-1"},
    {"path": f'"{"/x" * 3000}"', "target": '"\udcff"', "source": '""', "pathname": '"\\n"', "file": '"/proc/self/uid_map"'},
]


def test_at_least_100_distinct_causes_are_provoked() -> None:
    tables = [test_privilege_causes.CASES, test_path_causes.CASES, test_mount_causes.CASES, test_process_causes.CASES]
    provoked = [name for table in (*tables, test_cgroup_causes.VERSION_2, test_network_causes.CASES) for name in table]

    assert len(set(provoked)) == len(provoked) >= 100


@pytest.mark.parametrize("arguments", STRANGE)
def test_no_finder_fails_whatever_the_arguments(arguments: dict[str, str]) -> None:
    symbols = {*causes.ANY, *(symbol for _, symbol in causes.CAUSES)}
    calls = {call for call, _ in causes.CAUSES} | {"nonsense"}

    for call, symbol in itertools.product(calls, symbols):
        found = causes.find(call, symbol, arguments)
        assert found is None or (isinstance(found, Cause) and found.why)


def test_every_errno_in_the_tables_is_one_that_an_error_can_have() -> None:
    symbols = {*causes.ANY, *(symbol for _, symbol in causes.CAUSES)}

    assert symbols <= {KernelError.symbol(number) for number in errno.errorcode}


def test_every_finder_says_what_it_looks_for() -> None:
    assert [finder for finder in FINDERS if not finder.__doc__] == []


def test_the_numbers_of_the_capabilities_are_the_kernels() -> None:
    assert {name: Cap[name.removeprefix("CAP_")].value for name in facts.CAPABILITIES} == facts.CAPABILITIES


@needs_root
def test_without_proc_every_finder_says_less_and_none_fails(tmp_path: Path) -> None:
    keep_causes()

    def act() -> list[str]:
        os.chroot(tmp_path)
        os.chdir("/")
        pairs = [*causes.CAUSES, *(("mount", symbol) for symbol in causes.ANY)]
        return [str(causes.find(call, symbol, {"path": '"/x"', "flags": "NEWUSER"})) for call, symbol in pairs]

    assert len(in_child(act)) == len(causes.CAUSES) + len(causes.ANY)


@needs_root
def test_without_proc_a_refusal_still_says_what_is_needed(tmp_path: Path) -> None:
    keep_causes()

    def act() -> None:
        os.chroot(tmp_path)
        linux.capset(linux.CapSets(0, 0, 0))
        linux.sethostname("x")

    with pytest.raises(KernelError, match="the call needs CAP_SYS_ADMIN"):
        in_child(act)


def test_a_walk_over_all_processes_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "PATIENCE", 0.0)

    assert list(facts.pids()) == []


def test_where_nothing_fails_nothing_of_it_is_imported() -> None:
    program = "import sys; import scratchlab.container; print(*sys.modules)"
    brought = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout

    assert "scratchlab.errors" in brought.split()
    assert not {"scratchlab.errors.causes", "scratchlab.errors.explanation", "ast", "dis"} & set(brought.split())


def test_a_hint_is_one_line_whatever_a_file_is_called(tmp_path: Path) -> None:
    (tmp_path / "two\nlines").touch()
    error = KernelError("open", {"pathname": f'"{tmp_path}/missing"'}, errno.ENOENT)

    assert r"two\nlines" in error.hint and "\n" not in error.hint


def test_no_cause_is_better_than_a_wrong_one() -> None:
    assert causes.find("nonsense", "EILSEQ", {}) is None
    assert KernelError("nonsense", {}, errno.EILSEQ).hint == ""


@pytest.mark.parametrize(
    "cause",
    [
        Cause("it is so"),
        Cause("it is so (or not)", "cat /proc/self/uid_map; ls", "mount(2)"),
        Cause("it is so", "ls (x)"),
        Cause("it is so", page="user_namespaces(7)"),
        Cause("of user 0 (root), and (check this)", "stat -c '%n: %F' /a", "PR_CAP_AMBIENT(2const)"),
    ],
)
def test_a_cause_is_read_back_from_its_text(cause: Cause) -> None:
    assert Cause.read(str(cause)) == cause


def test_arguments_are_read_as_the_ledger_writes_them() -> None:
    asked = Asked("mount", "EPERM", {"source": "NULL", "target": '"/a b"', "mountflags": "RDONLY|BIND", "len": "0x10"})

    assert (asked.text("source"), asked.text("target"), asked.text("absent")) == ("", "/a b", "")
    assert asked.has("mountflags", "BIND") and not asked.has("mountflags", "REC")
    assert asked.number("len") == 16
    assert asked.paths() == ["/a b"]


@pytest.mark.parametrize("line", ["", "36 35 98:0", "x - y", "1 2 3 4 5 6 - a b", "1 2 3:4 / /x rw"])
def test_a_line_of_mountinfo_that_is_not_one_is_passed_over(line: str) -> None:
    assert facts._mounted(line) is None
