"""What execve(2) reads of a file: pure functions, and agreement with readelf(1)."""

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from scratchlab.rootfs.executable import Executable, parse_script, read_executable, runs_here
from tests.conftest import needs


def look(path: str | Path) -> Executable:
    with open(path, "rb") as file:
        return read_executable(file.fileno())


@pytest.mark.parametrize(
    ("head", "interpreter", "argument"),
    [
        (b"#!/bin/sh\necho", "/bin/sh", ""),
        (b"#! /bin/sh\n", "/bin/sh", ""),
        (b"#!/usr/bin/env -S a b  c\n", "/usr/bin/env", "-S a b  c"),  # one argument, whatever is in it
        (b"#!/bin/sh\t-e \n", "/bin/sh", "-e"),
        (b"#!/bin/sh", "/bin/sh", ""),
        (b"#!/bin/sh\r\n", "/bin/sh\r", ""),  # the kernel takes the carriage return for a part of the name
        (b"#!/bin/sh -e\r\n", "/bin/sh", "-e\r"),
        (b"#!/bin/sh\0x\n", "/bin/sh", ""),
    ],
)
def test_a_script_names_its_interpreter_and_at_most_one_argument(head: bytes, interpreter: str, argument: str) -> None:
    assert parse_script(head) == Executable("script", interpreter, argument)


@pytest.mark.parametrize("head", [b"#!", b"#!\n", b"#!   \n/bin/sh"])
def test_a_script_that_names_nobody_is_no_program(head: bytes) -> None:
    assert parse_script(head).kind == ""


@needs(shutil.which("readelf"), "needs readelf: apt-get install binutils")
def test_the_loader_is_the_one_that_readelf_names() -> None:
    bash = os.path.realpath(shutil.which("bash") or "/bin/bash")
    said = subprocess.run(["readelf", "--program-headers", bash], capture_output=True, text=True, check=True).stdout

    assert f"[Requesting program interpreter: {look(bash).interpreter}]" in said
    assert look(bash).machine == os.uname().machine
    assert runs_here(look(bash).machine)


@needs(os.path.exists("/bin/busybox"), "needs a static busybox: apt-get install busybox-static")
def test_a_static_program_has_no_loader() -> None:
    assert look("/bin/busybox") == Executable("ELF", machine=os.uname().machine)


def test_a_small_elf_of_32_bits_and_the_other_byte_order_is_read_too(tmp_path: Path) -> None:
    header = bytearray(52 + 32)
    header[:6] = b"\x7fELF\x01\x02"
    header[18:20] = (8).to_bytes(2, "big")  # e_machine: mips
    header[28:32] = (52).to_bytes(4, "big")  # e_phoff
    header[42:46] = (32).to_bytes(2, "big") + (1).to_bytes(2, "big")  # e_phentsize, e_phnum
    header[52:56] = (3).to_bytes(4, "big")  # p_type: PT_INTERP
    header[56:60] = (84).to_bytes(4, "big")  # p_offset
    header[68:72] = (9).to_bytes(4, "big")  # p_filesz
    (tmp_path / "small").write_bytes(bytes(header) + b"/ld.so.1\0")

    assert look(tmp_path / "small") == Executable("ELF", "/ld.so.1", machine="mips")


@pytest.mark.parametrize("length", [4, 5, 20, 60, 100])
def test_a_cut_program_is_no_program(tmp_path: Path, length: int) -> None:
    (tmp_path / "cut").write_bytes(Path("/proc/self/exe").read_bytes()[:length])

    assert look(tmp_path / "cut").kind == ""


def test_a_program_that_asks_for_an_exabyte_is_no_program(tmp_path: Path) -> None:
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    for offset, size in ((120, 1 << 60), (1 << 63, 5), ((1 << 64) - 1, (1 << 64) - 1)):
        (tmp_path / "x").write_bytes(header + struct.pack("<IIQQQQQQ", 3, 4, offset, 0, 0, size, size, 1) + b"/lib\0")
        assert look(tmp_path / "x").kind == ""
