"""A system call by the machine's second table: what a C compiler would make of a program for the 32-bit processor."""

import ctypes
import mmap
import os

I386_GETPID = 20

# push rbx; mov eax, edi; int 0x80; pop rbx; ret: the number in eax, as i386 has it.
_INT_80 = bytes.fromhex("53 89f8 cd80 5b c3")

KNOWN = os.uname().machine == "x86_64"


def call(number: int) -> int:
    """What the kernel returns to a call by i386's table: a result, or minus an errno."""
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(_INT_80)
        place = ctypes.c_char.from_buffer(page)
        function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(ctypes.addressof(place))
        result = int(function(number))
        del function, place  # or the page could not be given back
        return result


def works() -> bool:
    """Whether this kernel has the second table at all."""
    if not KNOWN:
        return False
    child = os.fork()
    if child == 0:
        os._exit(0 if call(I386_GETPID) == os.getpid() else 1)
    return os.waitpid(child, 0)[1] == 0
