"""Loop devices: a file as a disk, for as long as somebody has it open.  loop(4)"""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EBUSY

from scratchlab.errors import HostError, KernelError
from scratchlab.linux.ledger import Bare, record

_GET_FREE, _CONFIGURE = 0x4C82, 0x4C0A  # LOOP_CTL_GET_FREE, LOOP_CONFIGURE (Linux 5.8)
_READ_ONLY, _AUTOCLEAR = 1, 4
_BLOCK = 512


@contextmanager
def loop_device(path: str, content: bytes) -> Iterator[tuple[int, int]]:
    """A read-only disk with `content`, kept in a new file at `path`. Gives its major and minor number.  loop(4)"""
    with open(path, "wb") as file:
        file.write(content.ljust(-(-len(content) // _BLOCK) * _BLOCK, b"\0"))
    backing = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        device = _configured(backing)
    finally:
        os.close(backing)  # the device has its own
    try:
        number = os.fstat(device).st_rdev
        yield os.major(number), os.minor(number)
    finally:
        os.close(device)  # the last user: the kernel takes the device apart


def _configured(backing: int) -> int:
    if not os.access("/dev/loop-control", os.R_OK | os.W_OK):
        raise HostError("this machine has no loop devices to spare", "check: ls -l /dev/loop-control; modprobe loop")
    # struct loop_config: the file, then struct loop_info64, of which only the flags are not 0.
    config = bytearray(struct.pack("II52xI", backing, _BLOCK, _READ_ONLY | _AUTOCLEAR).ljust(304, b"\0"))
    for _ in range(16):
        device = os.open(f"/dev/loop{_free()}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _ioctl("LOOP_CONFIGURE", device, _CONFIGURE, bytes(config))
            return device
        except KernelError as error:
            os.close(device)
            if error.errno != EBUSY:  # somebody else was faster
                raise
    raise HostError("every loop device that was free was taken before us", "try again")


def _free() -> int:
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        return _ioctl("LOOP_CTL_GET_FREE", control, _GET_FREE)
    finally:
        os.close(control)


def _ioctl(name: str, fd: int, op: int, data: bytes | int = 0) -> int:
    def act() -> int:
        result = fcntl.ioctl(fd, op, data)
        return result if isinstance(result, int) else 0  # given bytes, Python gives them back as the kernel left them

    return record("ioctl", {"fd": fd, "op": Bare(name)}, act)
