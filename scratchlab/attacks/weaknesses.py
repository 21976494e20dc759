"""What a careless runtime, or a careless host, does: the weaknesses that attacks need, made on purpose. Each is a step."""

import ctypes
import os
from contextlib import suppress

from scratchlab import linux
from scratchlab.errors import KernelError
from scratchlab.linux import Mount, Prctl

_held: list[object] = []  # what must stay where it is for as long as the process lives
_ANY = -1  # PR_SET_PTRACER_ANY


def leave_open(directory: str) -> None:
    """A directory that every program started from here inherits: open, and without O_CLOEXEC.  open(2)"""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(fd, True)


def share(directory: str) -> None:
    """A filesystem whose later mounts travel to all that have it too, as the host's usually do.  mount_namespaces(7)"""
    linux.mount("tmpfs", directory, "tmpfs", Mount.NOSUID | Mount.NODEV, "size=64k")
    linux.mount(None, directory, None, Mount.SHARED)


def stand_on(namespace: str) -> None:
    """A mount table that is another process's, by its file in /proc: a host of our own to stand on.  setns(2)"""
    fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        linux.setns(fd, linux.Clone.NEWNS)
    finally:
        os.close(fd)


def remember(secret: str) -> int:
    """A secret in memory, and its address; who is the same user may trace us.  PR_SET_PTRACER(2const)"""
    with suppress(KernelError):  # EINVAL without Yama, which would let only our ancestors
        linux.prctl(Prctl.SET_PTRACER, _ANY)
    memory = ctypes.create_string_buffer(secret.encode())
    _held.append(memory)
    return ctypes.addressof(memory)
