"""Births into control groups: 0.1 ms, where moving a living process costs 6 to 15.  cgroups(7), clone3(2)

Whoever moves a process locks all forks and exits of the machine, and for that waits until every CPU has passed through the
scheduler. Two ways need no lock: to be born in a group (clone3 with CLONE_INTO_CGROUP, version 2), and to be a single thread
that moves itself (0, written to version 1's `tasks`).
"""

import ctypes
import errno
import os
import signal

from scratchlab.errors import KernelError
from scratchlab.linux.cgroupfs import version
from scratchlab.linux.flags import Clone
from scratchlab.linux.ledger import Bare, record
from scratchlab.linux.numbers import here
from scratchlab.linux.posix import fork

_CHILD_CLEARTID, _CHILD_SETTID, _INTO_CGROUP = 0x00200000, 0x01000000, 0x200000000
_PR_GET_TID_ADDRESS = 40

_libc = ctypes.CDLL(None, use_errno=True)


def fork_into(*groups: str, namespaces: Clone = Clone(0)) -> int:
    """Fork a child that is born in these groups, one of each tree, and in new namespaces.  fork(2), clone3(2)

    Gives what fork gives. The child is in all groups before it goes on; its parent may look a moment too early.
    Raises KernelError.
    """
    born_in = [group for group in groups if version(group) == 2]
    # Opened by the parent: so a missing group is the parent's error, before there is a child.
    doors = [_open(f"{group}/tasks", os.O_WRONLY) for group in groups if group not in born_in]
    try:
        pid = _clone(born_in[0] if born_in else None, namespaces) if born_in or namespaces else fork()
        if pid == 0:
            _walk_in(doors)
        return pid
    finally:
        for door in doors:
            os.close(door)


def _walk_in(doors: list[int]) -> None:
    try:
        for door in doors:
            os.write(door, b"0")
    except OSError:
        # Not an exception: it would run the parent's code, in the child.
        os._exit(125)


def _open(path: str, flags: int) -> int:
    return record("open", {"pathname": path, "flags": Bare(hex(flags))}, lambda: os.open(path, flags | os.O_CLOEXEC))


def _clone(group: str | None, namespaces: Clone) -> int:
    """What fork(2) of the C library does, but with a group, or with namespaces.  clone3(2)"""
    directory = _open(group, os.O_RDONLY | os.O_DIRECTORY) if group else None
    try:
        return _clone_into(directory, group, namespaces)
    except KernelError as error:
        # Old kernels, and the seccomp filters of container engines, say that there is no such call.
        if namespaces or not group or KernelError.symbol(error.errno or 0) not in ("ENOSYS", "E2BIG", "EPERM"):
            raise
        return _fork_and_move(group)
    finally:
        if directory is not None:
            os.close(directory)


def _clone_into(directory: int | None, group: str | None, namespaces: Clone) -> int:
    # The C library keeps the thread's number in memory; the kernel must write the child's there, as for fork.
    tid_address = ctypes.c_ulong()
    if _libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(tid_address), 0, 0, 0) != 0:
        raise KernelError("clone3", {}, errno.ENOSYS)
    flags = _CHILD_SETTID | _CHILD_CLEARTID | namespaces | (0 if directory is None else _INTO_CGROUP)
    words = (ctypes.c_uint64 * 11)(flags, 0, tid_address.value, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, directory or 0)
    return record("clone3", {"flags": namespaces, "cgroup": group}, lambda: _clone3(words))


def _clone3(words: "ctypes.Array[ctypes.c_uint64]") -> int:
    # Python's own part of os.fork(): the interpreter's locks before, its thread's identity after.
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(_libc.syscall(ctypes.c_long(here()["clone3"]), words, ctypes.c_size_t(ctypes.sizeof(words))))
    error = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Child() if pid == 0 else ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid == -1:
        raise OSError(error, "clone3")
    return pid


def _fork_and_move(group: str) -> int:
    door = _open(f"{group}/cgroup.procs", os.O_WRONLY)
    try:
        pid = fork()
        if pid == 0:
            _walk_in([door])
        return pid
    finally:
        os.close(door)
