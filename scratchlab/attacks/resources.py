"""Attacks by greed: to take so much of the machine that nothing is left for others. Each is bounded by what it is told."""

import errno
import os
import signal
import time

from scratchlab import linux
from scratchlab.attacks.attack import Evidence, attack
from scratchlab.errors import KernelError

MIB = 1 << 20


@attack("fork(2)", "cgroups(7)", stopped_by=("pids",), history="`:(){ :|:& };:`, one line of shell")
def fork_bomb(most: int) -> Evidence:
    """Start processes until somebody says no: a full table of processes lets nobody start anything any more.  fork(2)"""
    for started in range(most):
        try:
            child = linux.fork()
        except KernelError as error:
            if error.errno != errno.EAGAIN:
                raise
            return Evidence(False, f"{started} processes, then fork() = EAGAIN")
        if child == 0:
            signal.pause()
    return Evidence(True, f"{most} processes at once")


@attack("cgroups(7)", stopped_by=("memory",), history="every leak; the kernel then kills whom it likes, also the host's")
def memory_bomb(size: int) -> Evidence:
    """Fill memory of your own: when there is none left, the kernel kills somebody, perhaps somebody else.  cgroups(7)"""
    taken = b"x" * size
    return Evidence(True, f"holds {len(taken) // MIB} MiB")


@attack(
    "tmpfs(5)", "memfd_create(2)", stopped_by=("memory",), history="files in /dev/shm or /tmp, of which nobody thinks as memory"
)
def tmpfs_bomb(size: int) -> Evidence:
    """Fill memory with a file: a tmpfs keeps its files there, and to kill their writer frees nothing.  tmpfs(5)"""
    fd = os.memfd_create("bomb")
    for _ in range(size // MIB):
        os.write(fd, b"x" * MIB)
    return Evidence(True, f"a file of {os.fstat(fd).st_size // MIB} MiB in memory")


@attack("sched(7)", "cgroups(7)", stopped_by=("cpu",), history="coin miners, the usual guests of a broken container")
def cpu_hog(seconds: float, loops: int) -> Evidence:
    """Run busy loops on every CPU, until so many seconds of CPU time are used up.  cgroups(7)"""
    begin = time.monotonic()
    children = [_spin(seconds) for _ in range(loops)]
    for child in children:
        os.waitpid(child, 0)
    used = sum(os.times()[2:4])  # of the children that were waited for
    return Evidence(True, f"{loops} busy loops used {used:.2f} s of CPU in {time.monotonic() - begin:.2f} s")


def _spin(seconds: float) -> int:
    pid = os.fork()
    if pid == 0:
        while sum(os.times()[:2]) < seconds:
            pass
        os._exit(0)
    return pid
