"""A seccomp filter by hand, for tests that want one call refused.  seccomp(2)"""

from scratchlab import linux
from scratchlab.linux import SeccompFlag, SeccompOp
from scratchlab.linux.bpf import Instruction, Op, Verdict
from scratchlab.linux.numbers import here


def refuse(call: str, errno: int = 1, promise: bool = True) -> None:
    """Answer `errno` to one system call from here on."""
    if promise:
        linux.prctl(linux.Prctl.SET_NO_NEW_PRIVS, 1)
    program = [
        Instruction(Op.LOAD, 0, 0, 0),
        Instruction(Op.IF_EQUAL, 0, 1, here()[call]),
        Instruction(Op.RETURN, 0, 0, Verdict.ERRNO | errno),
        Instruction(Op.RETURN, 0, 0, Verdict.ALLOW),
    ]
    linux.seccomp(SeccompOp.SET_MODE_FILTER, SeccompFlag(0), program)
