"""Which system calls a program makes, recorded; and the same program with a filter before its calls.  ptrace(2), seccomp(2)"""

import ctypes
import os
import signal
from collections.abc import Callable
from typing import Any, NamedTuple

from scratchlab import linux
from scratchlab.finished import Finished, signal_name
from scratchlab.lessons.experiments import asked
from scratchlab.linux import Prctl, Ptrace, SeccompFlag, SeccompOp
from scratchlab.linux.bpf import Program
from scratchlab.linux.numbers import here
from scratchlab.sandbox import Sandbox

CANNOT = 127  # how a child ends that could not execute its program

_SYSGOOD, _TRACE_EXEC, _EXITKILL = 0x1, 0x10, 0x100000  # PTRACE_O_…
_AT_A_CALL = signal.SIGTRAP | 0x80
_AT_EXEC = signal.SIGTRAP | 4 << 8  # PTRACE_EVENT_EXEC


class Recording(NamedTuple):
    """A program's system calls by name, each once, in the order in which it first made them."""

    argv: tuple[str, ...]
    calls: tuple[str, ...]

    def __repr__(self) -> str:
        return f"{' '.join(self.argv)}: {len(self.calls)} different system calls\n  {' '.join(self.calls)}"


def record(box: Sandbox, *argv: str) -> Recording:
    """Run a program in a sandbox, and record its calls from its first instruction on; not those of its children."""
    return Recording(argv, tuple(asked(box, _recorded, *argv)))


def confined(box: Sandbox, program: Program, *argv: str) -> Finished:
    """Run a program in a sandbox, with a filter installed just before execve, which the filter sees too."""
    told = asked(box, _confined, program, *argv)
    status, name = (told["status"], None) if told["status"] >= 0 else (None, signal_name(-told["status"]))
    return Finished(argv, status, name, told["out"], "")


# -- inside -----------------------------------------------------------------------------------------------------------


def _recorded(*argv: str) -> list[str]:
    """Hold a child at each entry to the kernel, and ask what it came for."""

    def watched() -> None:
        linux.ptrace(Ptrace.TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)  # until we have said what we want to know
        os.execvp(argv[0], argv)

    pid = _child(watched, os.open(os.devnull, os.O_WRONLY))
    os.waitpid(pid, 0)
    linux.ptrace(Ptrace.SETOPTIONS, pid, 0, _SYSGOOD | _TRACE_EXEC | _EXITKILL)
    linux.ptrace(Ptrace.CONT, pid)
    names = {number: name for name, number in here().items()}
    calls: dict[str, None] = {}
    while os.WIFSTOPPED(status := os.waitpid(pid, 0)[1]):
        event = status >> 8
        if event == _AT_A_CALL and (number := _entered(pid)) is not None:
            calls[names.get(number, str(number))] = None
        # What is no stop of ours is a signal, which the program must get.
        passed_on = 0 if event in (_AT_A_CALL, _AT_EXEC) else event
        linux.ptrace(Ptrace.SYSCALL, pid, 0, passed_on)
    return list(calls)


def _entered(pid: int) -> int | None:
    """The number of the call that a stopped process enters; None when it comes back from one."""
    info = ctypes.create_string_buffer(88)  # struct ptrace_syscall_info
    linux.ptrace(Ptrace.GET_SYSCALL_INFO, pid, len(info), info)
    return int.from_bytes(info.raw[24:32], "little") if info.raw[0] == 1 else None


def _confined(program: list[list[int]], *argv: str) -> dict[str, Any]:
    path = next((f"{place}/{argv[0]}" for place in os.get_exec_path() if os.access(f"{place}/{argv[0]}", os.X_OK)), argv[0])

    def filtered() -> None:
        linux.prctl(Prctl.SET_NO_NEW_PRIVS, 1)
        linux.seccomp(SeccompOp.SET_MODE_FILTER, SeccompFlag(0), program)  # type: ignore[arg-type]  # JSON made lists of it
        os.execv(path, argv)

    reader, writer = os.pipe()
    pid = _child(filtered, writer)
    with open(reader, "rb") as stream:
        out = stream.read().decode(errors="replace").removesuffix("\n")
    return {"status": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), "out": out}


def _child(act: Callable[[], None], out: int) -> int:
    """A child that becomes another program in `act`, and writes to `out`, which is closed here. Gives its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            os.dup2(out, 1)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            act()
        finally:
            os._exit(CANNOT)
    os.close(out)
    return pid
