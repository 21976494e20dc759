"""A seccomp filter by hand, for tests that want one call refused.  seccomp(2)"""

import ctypes
import struct

from scratchlab import linux
from scratchlab.linux.ledger import record
from scratchlab.linux.syscalls import _libc, number

_LOAD_NUMBER, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2


def refuse(call: str, errno: int = 1, promise: bool = True) -> None:
    """Answer `errno` to one system call from here on."""
    if promise:
        linux.prctl(linux.Prctl.SET_NO_NEW_PRIVS, 1)
    rows = [
        (_LOAD_NUMBER, 0, 0, 0),
        (_JUMP_IF_EQUAL, 0, 1, number(call)),
        (_RETURN, 0, 0, _ERRNO | errno),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    program = struct.pack("HxxxxxxQ", len(rows), ctypes.addressof(code))

    def install() -> None:
        if _libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, program, 0, 0) == -1:
            raise OSError(ctypes.get_errno(), "seccomp")

    record("seccomp", {"operation": "SET_MODE_FILTER"}, install)
