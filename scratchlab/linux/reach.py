"""Calls that reach past names and permissions: files by handle, other processes, keys. What containers are refused."""

import ctypes
import struct
from typing import NamedTuple

from scratchlab.linux.flags import Ptrace
from scratchlab.linux.ledger import Bare
from scratchlab.linux.syscalls import AT_FDCWD, _call


class Handle(NamedTuple):
    """A file as its filesystem numbers it: struct file_handle without its length.  open_by_handle_at(2)"""

    type: int
    data: bytes


_HANDLE_BYTES = 128  # MAX_HANDLE_SZ


def name_to_handle_at(pathname: str) -> Handle:
    """The handle of a file: it stays the same wherever the filesystem is mounted.  open_by_handle_at(2)"""
    room = ctypes.create_string_buffer(struct.pack("Ii", _HANDLE_BYTES, 0), 8 + _HANDLE_BYTES)
    mount_id = ctypes.create_string_buffer(4)
    _call("name_to_handle_at", {"pathname": pathname}, (AT_FDCWD, pathname, room, mount_id, 0))
    length, kind = struct.unpack_from("Ii", room)
    return Handle(kind, room.raw[8 : 8 + length])


def open_by_handle_at(mount_fd: int, handle: Handle, flags: int) -> int:
    """Open a file by its handle, with `mount_fd` only to say on which filesystem: no path is walked.  open_by_handle_at(2)"""
    packed = struct.pack("Ii", len(handle.data), handle.type) + handle.data
    arguments = {"mount_fd": mount_fd, "handle": Bare(handle.data.hex()), "flags": Bare(hex(flags))}
    return _call("open_by_handle_at", arguments, (mount_fd, packed, flags))


def ptrace(op: Ptrace, pid: int, addr: int = 0, data: object = 0) -> None:
    """Hold another process, look into its memory, let it go; `data` is a buffer or a signal.  ptrace(2)"""
    _call("ptrace", {"op": op, "pid": pid, "addr": Bare(hex(addr))}, (op, pid, addr, data))


def add_key(type: str, description: str, payload: bytes, keyring: int) -> int:
    """Put a key into a keyring of the kernel. Gives its number.  add_key(2)"""
    arguments = {"type": type, "description": description, "payload": payload, "keyring": keyring}
    return _call("add_key", arguments, (type, description, payload, len(payload), keyring))


def keyctl(operation: int, *arguments: object) -> int:
    """Search, read, unlink keys, by the numbers of keyctl.h.  keyctl(2)"""
    shown = {"operation": operation} | {f"arg{number}": value for number, value in enumerate(arguments, 2)}
    return _call("keyctl", shown, (operation, *arguments, *[0] * (4 - len(arguments))))
