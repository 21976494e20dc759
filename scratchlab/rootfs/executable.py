"""What the kernel reads of a file before it runs it.  execve(2), elf(5)

A program is seldom one file. `execve` opens a second one, its *interpreter*, named inside the first:

    \\x7fELF … PT_INTERP /lib64/ld-linux-x86-64.so.2     a dynamic program: the loader, which then finds the libraries
    #!/usr/bin/python3 -u                               a script: the program that reads it

If that second file is missing, `execve` says "No such file or directory" of the first, which is there for all to see. Half
of all first containers fail with it, so this module reads the name, and others say what is really missing.
"""

import os
import re
import struct
from typing import NamedTuple

# The CPU is a number in the header (e_machine); here by the names of uname(1).
MACHINES = {3: "i386", 8: "mips", 21: "ppc64le", 22: "s390x", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}

# A CPU may run the programs of its own smaller past.
_ALSO_RUNS = {"x86_64": "i386", "aarch64": "arm"}

DEEPEST_SCRIPT = 5  # a script may be the interpreter of a script, so often.  execve(2)

LOOKED_AT = 256  # bytes of a file that the kernel looks at before it decides (BINPRM_BUF_SIZE)

_PT_INTERP = 3
_PATH_MAX = 4096  # the kernel takes no longer name of an interpreter, with the NUL at its end


class Executable(NamedTuple):
    """One file, as `execve` sees it."""

    kind: str  # "ELF", "script", or "" for what the kernel refuses with ENOEXEC
    interpreter: str = ""  # the second file; "" for a static program
    argument: str = ""  # the one word after a script's interpreter
    machine: str = ""  # of an ELF file


def read_executable(fd: int) -> Executable:
    """Look at the first bytes of an open file.  execve(2)"""
    head = os.pread(fd, LOOKED_AT, 0)
    if head.startswith(b"#!"):
        return parse_script(head)
    if not head.startswith(b"\x7fELF"):
        return Executable("")
    try:
        return _read_elf(fd, head)
    except (struct.error, IndexError, ValueError, OverflowError, OSError):
        return Executable("")  # cut short, or not meant as a program: the kernel refuses it too


def runs_here(machine: str) -> bool:
    """Whether this machine runs programs of that CPU, by itself or by an emulator.  binfmt_misc in the kernel's docs"""
    here = os.uname().machine
    return machine in (here, _ALSO_RUNS.get(here)) or os.path.exists(f"/proc/sys/fs/binfmt_misc/qemu-{machine}")


def parse_script(head: bytes) -> Executable:
    """Read `#!interpreter [argument]`: the kernel splits once, whatever follows is one word.  execve(2)"""
    # Only "\n" ends the line. A "\r" before it, left by an editor of another system, is part of the last word.
    line, newline, _ = head.removeprefix(b"#!").partition(b"\0")[0].partition(b"\n")
    if not newline and b"\0" not in head and len(head) == LOOKED_AT:
        line = line[:-1]  # the last byte is not looked at
        if not re.search(rb"[^ \t][ \t]", line):
            return Executable("")  # nobody knows how the interpreter's name goes on
    words = re.fullmatch(rb"[ \t]*([^ \t]*)[ \t]*(.*?)", line.rstrip(b" \t"), re.DOTALL)
    interpreter, argument = map(os.fsdecode, words.groups()) if words else ("", "")
    return Executable("script" if interpreter else "", interpreter, argument)


class _Layout(NamedTuple):
    """Where 32-bit and 64-bit ELF files differ."""

    phoff: tuple[str, int]  # e_phoff, where the program headers start: type, and place in the file header
    phentsize: int  # place of e_phentsize; e_phnum follows it
    program_header: str  # the fields of one program header
    offset: int  # which of them is p_offset
    filesz: int  # which of them is p_filesz


_LAYOUTS = {1: _Layout(("I", 28), 42, "IIIII", 1, 4), 2: _Layout(("Q", 32), 54, "IIQQQQ", 2, 5)}


def _with_interpreter(fd: int, size: int, offset: int, machine: str) -> Executable:
    # The file says how much to read: a hostile one says an exabyte.
    path = os.pread(fd, min(size, _PATH_MAX), offset)
    if not 2 <= size == len(path) or not path.endswith(b"\0"):
        return Executable("")
    return Executable("ELF", os.fsdecode(path.split(b"\0")[0]), machine=machine)


def _read_elf(fd: int, head: bytes) -> Executable:
    bits, order = head[4], "<" if head[5] == 1 else ">"
    layout = _LAYOUTS.get(bits)
    if layout is None:
        return Executable("")
    (machine,) = struct.unpack_from(f"{order}H", head, 18)
    (start,) = struct.unpack_from(order + layout.phoff[0], head, layout.phoff[1])
    size, count = struct.unpack_from(f"{order}HH", head, layout.phentsize)
    name = MACHINES.get(machine, f"machine-{machine}")
    for number in range(count):
        raw = os.pread(fd, struct.calcsize(order + layout.program_header), start + number * size)
        fields = struct.unpack(order + layout.program_header, raw)
        if fields[0] == _PT_INTERP:
            return _with_interpreter(fd, fields[layout.filesz], fields[layout.offset], name)
    return Executable("ELF", machine=name)
