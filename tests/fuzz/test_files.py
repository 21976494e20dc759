"""Files that somebody else wrote: programs, scripts, journals, lists of libraries. A value or an error of ours, and no hang.

How much is tried, and how to try more: profile.py.
"""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlab.journal import Entries, _take_back, start_time
from scratchlab.rootfs.check import CommandError, check_rootfs
from scratchlab.rootfs.debian import apt_sources
from scratchlab.rootfs.executable import MACHINES, Executable, parse_script, read_executable
from scratchlab.rootfs.libraries import parse_list
from tests.fuzz.profile import any_text, damaged, damaged_bytes, examples, json_values, outcome


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the one in conftest.py: nothing here does more than read files of its own."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root filesystem of one file, /bin/x."""
    root = tmp_path_factory.mktemp("root")
    (root / "bin").mkdir()
    (root / "bin/x").touch(mode=0o755)
    return root


# -- programs ---------------------------------------------------------------------------------------------------------

numbers = {16: st.integers(0, 0xFFFF), 32: st.integers(0, 0xFFFFFFFF), 64: st.integers(0, (1 << 64) - 1)}
paths = st.binary(min_size=1, max_size=40).filter(lambda path: b"\0" not in path)


def elf(path: bytes, machine: int = 62, count: int = 1, kind: int = 3, offset: int = 120, size: int | None = None) -> bytes:
    """A 64-bit ELF file of nothing but headers, and the path of its interpreter.  elf(5)"""
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
    length = len(path) + 1 if size is None else size
    return header + struct.pack("<IIQQQQQQ", kind, 4, offset, 0, 0, length, length, 1) + path + b"\0"


elfs = st.builds(
    elf,
    paths,
    numbers[16],
    numbers[16] | st.just(1),
    st.sampled_from([3, 1]),
    numbers[64] | st.just(120),
    st.none() | numbers[64],
)
scripts = st.tuples(st.sampled_from([b"/bin/sh", b"sh", b""]), st.sampled_from([b" -u", b"\t\t-e x ", b"\r", b"\0"])).map(
    lambda parts: b"#!" + b"".join(parts) + b"\n"
)
programs = damaged_bytes(elfs | scripts) | st.binary(max_size=300) | st.binary().map(lambda data: b"\x7fELF" + data)


@given(programs)
@examples(400)
def test_any_file_is_a_program_or_none_and_the_command_can_run_or_not(root: Path, data: bytes) -> None:
    (root / "bin/x").write_bytes(data)
    with open(root / "bin/x", "rb") as file:
        assert isinstance(outcome(read_executable, file.fileno()), Executable)

    found = outcome(check_rootfs, root, "x")

    assert found == "/bin/x" or isinstance(found, CommandError)


@given(paths, st.sampled_from(list(MACHINES)))
@examples(100)
def test_the_interpreter_of_a_program_is_read_as_it_stands_there(root: Path, path: bytes, machine: int) -> None:
    (root / "bin/x").write_bytes(elf(path, machine))

    with open(root / "bin/x", "rb") as file:
        assert read_executable(file.fileno()) == Executable("ELF", os.fsdecode(path), machine=MACHINES[machine])


@given(
    damaged_bytes(
        st.sampled_from([b"#!/bin/echo\n", b"#! \t/bin/echo  a b\t c \nx", b"#!/bin/echo\r\n", b"#!/bin/echo" + b" " * 250])
    )
)
@examples(150)
def test_a_script_is_read_as_the_kernel_reads_it(tmp_path_factory: pytest.TempPathFactory, head: bytes) -> None:
    script = tmp_path_factory.mktemp("script") / "script"
    script.write_bytes(head)
    script.chmod(0o755)

    read = parse_script(head[:256]) if head.startswith(b"#!") else Executable("")

    said = executed(str(script))
    if read.interpreter == "/bin/echo":
        assert said is not None
        assert (said.removesuffix(str(script)).rstrip(" "), read.interpreter) == (read.argument, "/bin/echo")
    else:
        assert said is None or not said.endswith(str(script))


def executed(program: str) -> str | None:
    """What a program says, or None if the kernel does not execute it."""
    reader, writer = os.pipe()
    try:
        actions = [(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_DUP2, writer, 2)]
        child = os.posix_spawn(program, [program], {}, file_actions=actions)
    except OSError:
        return None
    finally:
        os.close(writer)
        with open(reader, "rb") as stream:
            said = os.fsdecode(stream.read())
    os.waitpid(child, 0)
    return said.removesuffix("\n")


LIST = "\tlinux-vdso.so.1 (0x0f)\n\tlibc.so.6 => /lib/libc.so.6 (0x0f)\n\tlibx.so => not found\n\t/lib64/ld.so.2 (0x0f)\n"


@given(damaged(st.integers(1, 400).map(lambda times: LIST * times)) | st.just("\t" + " => /" * 20_000))
@examples(60)
def test_a_list_of_libraries_is_read_in_no_time(text: str) -> None:
    outcome(parse_list, text)


@given(
    st.lists(damaged(st.sampled_from(["deb http://x bookworm main\n", "Types: deb\nSuites: bookworm\n\n"]))), any_text, any_text
)
@examples(100)
def test_any_sources_of_packages_are_read(texts: list[str], own: str, suite: str) -> None:
    assert isinstance(outcome(apt_sources, texts, own, suite), str)


# -- journals ---------------------------------------------------------------------------------------------------------

JOURNAL = (
    b'{"owner": 4711, "started": 12, "boot": "x"}\n{"undo": "link", "name": "veth-web", "address": "02:00"}\n'
    b'{"fact": {"pid": 4720, "ports": [["0.0.0.0", 80, 80, "tcp"]]}}\n'
)
entries = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("owner", "started", "boot", "undo", "fact", "path", "name"), json_values)
)


@given(
    damaged_bytes(st.just(JOURNAL)) | st.lists(entries).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()) | st.binary()
)
@examples(300)
def test_any_journal_is_read_and_its_owner_is_alive_or_dead(data: bytes) -> None:
    found = outcome(Entries, "web", data)

    assert isinstance(outcome(lambda: found.alive), bool)


def test_a_line_that_is_nested_without_end_is_no_line_of_a_journal() -> None:
    assert Entries("web", b"[" * 100_000 + b"\n" + JOURNAL).undos


@given(st.lists(st.tuples(st.sampled_from(["fact", "undo"]), json_values), max_size=5))
@examples(100)
def test_what_was_written_to_a_journal_is_read(rows: list[tuple[str, object]]) -> None:
    lines = [{"undo": "file", "path": value} if what == "undo" else {"fact": {"x": value}} for what, value in rows]
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()

    found = Entries("web", text)

    assert json.dumps(found.undos) == json.dumps([line for line in lines if "undo" in line])
    assert json.dumps(found.facts) == json.dumps({k: v for line in lines if "fact" in line for k, v in line["fact"].items()})


# Of the undos, those whose arguments can be arbitrary without harm to anybody: they prove first that a thing is ours.
HARMLESS = {
    "process": ["pid", "started"], "cgroup": ["path"], "link": ["name", "address"], "nft_table": ["name", "comment"],
    "bridge": ["name", "holder"], "claim": ["thing", "holder"], "sysctl": ["key", "value", "holder"],
    "mount_point": ["path", "directory", "holder"],
}  # fmt: skip
nobodys = st.integers(max_value=-1) | st.integers(min_value=1 << 23)  # above the largest pid


@st.composite
def undos(draw: Callable[..., object]) -> dict[str, object]:
    undo = draw(st.sampled_from(list(HARMLESS)))
    values = {name: draw(json_values | any_text) for name in HARMLESS[str(undo)] if draw(st.booleans()) or name != "pid"}
    if "pid" in values:
        values["pid"] = draw(nobodys)
    return {"undo": undo, **values}


@given(undos())
@examples(300)
def test_any_undo_is_done_or_told_in_words(entry: dict[str, object]) -> None:
    assert isinstance(outcome(_take_back, entry), str)


@given(nobodys)
@examples(100)
def test_what_is_no_process_never_started(pid: int) -> None:
    assert outcome(start_time, pid) == 0
