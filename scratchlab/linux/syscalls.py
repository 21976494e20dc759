"""The system calls that Python lacks, one function each, with the manual page's name and order.

Numbers are per machine: x86_64 grew its own table; aarch64 uses the kernel's generic one.
Every call goes through `_call`, which knows errors and the ledger.
"""

import ctypes
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from scratchlab.errors import HostError, InputError
from scratchlab.linux.flags import At, Cap, Clone, Mount, MountAttr, MoveMount, OpenTree, Prctl, Resolve, Umount
from scratchlab.linux.ledger import Bare, record

NUMBERS = {
    "x86_64": {
        "add_key": 248, "capget": 125, "capset": 126, "keyctl": 250, "mount": 165, "mount_setattr": 442,
        "move_mount": 429, "open_tree": 428,
        "name_to_handle_at": 303, "open_by_handle_at": 304, "openat2": 437, "pivot_root": 155, "prctl": 157, "ptrace": 101,
        "setdomainname": 171, "sethostname": 170, "setns": 308, "umount2": 166, "unshare": 272,
    },
    "aarch64": {
        "add_key": 217, "capget": 90, "capset": 91, "keyctl": 219, "mount": 40, "mount_setattr": 442,
        "move_mount": 429, "open_tree": 428,
        "name_to_handle_at": 264, "open_by_handle_at": 265, "openat2": 437, "pivot_root": 41, "prctl": 167, "ptrace": 117,
        "setdomainname": 162, "sethostname": 161, "setns": 268, "umount2": 39, "unshare": 97,
    },
}  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)


def number(call: str) -> int:
    """The number of `call` on this machine.  syscalls(2)"""
    machine = os.uname().machine
    try:
        return NUMBERS[machine][call]
    except KeyError:
        known = ", ".join(NUMBERS)
        raise HostError(f"the number of {call} is not known for {machine}", f"Scratchlab knows {known}") from None


def _call(name: str, arguments: Mapping[str, object], words: Sequence[object] | None = None) -> int:
    """Make a system call with `arguments`, named as in its manual page.

    Where the kernel wants something else than what a person would read (a struct), `words` is what is really passed.
    Text becomes a C string, None becomes NULL, bytes and buffers pass by reference.
    """
    passed = [_word(value) for value in (arguments.values() if words is None else words)]

    def act() -> int:
        result = int(_libc.syscall(ctypes.c_long(number(name)), *passed))
        if result == -1:
            raise OSError(ctypes.get_errno(), name)
        return result

    return record(name, arguments, act)


def _word(value: object) -> object:
    if isinstance(value, str):
        if "\0" in value:  # C would see the part before it, and silently work on another file
            raise InputError(f"{value!r} holds a NUL character", "no path or name of the kernel can")
        return ctypes.c_char_p(os.fsencode(value))
    if isinstance(value, int):
        return ctypes.c_long(value)
    return value  # None, bytes and ctypes buffers are passed as pointers


# -- namespaces -------------------------------------------------------------------------------------------------------


def unshare(flags: Clone) -> None:
    """Leave the namespaces in `flags` for new ones; for NEWPID and NEWTIME, only children do.  unshare(2)"""
    _call("unshare", {"flags": flags})


def setns(fd: int, nstype: Clone) -> None:
    """Join the namespace behind `fd`: an open /proc/PID/ns link, or a pidfd.  setns(2)"""
    _call("setns", {"fd": fd, "nstype": nstype})


def sethostname(name: str) -> None:
    """Rename the machine in this UTS namespace.  sethostname(2)"""
    _call("sethostname", {"name": name, "len": len(os.fsencode(name))})


def setdomainname(name: str) -> None:
    """Set the NIS domain in this UTS namespace.  setdomainname(2)"""
    _call("setdomainname", {"name": name, "len": len(os.fsencode(name))})


# -- mounts -----------------------------------------------------------------------------------------------------------


def mount(
    source: str | None, target: str, filesystemtype: str | None = None, mountflags: Mount = Mount(0), data: str | None = None
) -> None:
    """Attach a filesystem at `target`, or change what is attached there.  mount(2)"""
    _call("mount", {"source": source, "target": target, "filesystemtype": filesystemtype, "mountflags": mountflags, "data": data})


AT_FDCWD = -100  # "relative to the working directory", in place of a directory's descriptor.  open(2)


def mount_setattr(
    pathname: str,
    flags: At = At(0),
    attr_set: MountAttr = MountAttr(0),
    propagation: Mount = Mount(0),
    userns_fd: int = 0,
    dirfd: int = AT_FDCWD,
) -> None:
    """Add attributes to a mount; with RECURSIVE, to all mounts below it too.  mount_setattr(2)"""
    # struct mount_attr is four 64-bit words: to set, to clear, the propagation, a user namespace for an id-mapped mount.
    attr = struct.pack("QQQQ", attr_set, 0, propagation, userns_fd)
    arguments: dict[str, object] = {"pathname": pathname, "flags": flags, "attr_set": attr_set}
    if MountAttr.IDMAP in attr_set:
        arguments = {"dirfd": dirfd, **arguments, "userns_fd": userns_fd}
    _call("mount_setattr", arguments, (dirfd, pathname, flags, attr, len(attr)))


def open_tree(dirfd: int, filename: str, flags: OpenTree) -> int:
    """A mount as a file descriptor; with CLONE a copy of it, attached nowhere yet.  open_tree(2)"""
    return _call("open_tree", {"dirfd": dirfd, "filename": filename, "flags": flags})


def move_mount(from_dirfd: int, from_pathname: str, to_dirfd: int, to_pathname: str, flags: MoveMount = MoveMount(0)) -> None:
    """Attach a mount somewhere else, or for the first time.  move_mount(2)"""
    arguments = {"from_dirfd": from_dirfd, "from_pathname": from_pathname, "to_dirfd": to_dirfd, "to_pathname": to_pathname}
    _call("move_mount", {**arguments, "flags": flags})


def umount2(target: str, flags: Umount = Umount(0)) -> None:
    """Detach the filesystem at `target`.  umount2(2)"""
    _call("umount2", {"target": target, "flags": flags})


def pivot_root(new_root: str, put_old: str) -> None:
    """Make `new_root` the root of this mount namespace; the old one moves to `put_old`.  pivot_root(2)"""
    _call("pivot_root", {"new_root": new_root, "put_old": put_old})


def openat2(dirfd: int, pathname: str, flags: int, mode: int = 0, resolve: Resolve = Resolve(0)) -> int:
    """Open a path; `resolve` says what the walk may cross, such as links out of a root.  openat2(2)"""
    # struct open_how is three 64-bit words; the ledger shows them by name instead.
    how = struct.pack("QQQ", flags, mode, resolve)
    arguments = {"dirfd": dirfd, "pathname": pathname, "flags": Bare(hex(flags)), "mode": Bare(oct(mode)), "resolve": resolve}
    return _call("openat2", arguments, (dirfd, pathname, how, len(how)))


# -- privileges -------------------------------------------------------------------------------------------------------


def prctl(op: Prctl, arg2: int | str = 0) -> int:
    """Change or ask one attribute of this process.  prctl(2)"""
    return _call("prctl", {"op": op, "arg2": arg2}, (op, arg2, 0, 0, 0))


class CapSets(NamedTuple):
    """The three sets of one thread, each as a mask of 1 << Cap.  capabilities(7)"""

    effective: int
    permitted: int
    inheritable: int


# Version 3 of the interface: two structs of three 32-bit words, low half first.  capget(2)
_CAPABILITY_VERSION_3 = 0x20080522


def capget() -> CapSets:
    """The capabilities of this process.  capget(2)"""
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    _call("capget", {"pid": 0}, (header, data))
    low_e, low_p, low_i, high_e, high_p, high_i = struct.unpack("6I", data.raw)
    return CapSets(low_e | high_e << 32, low_p | high_p << 32, low_i | high_i << 32)


def capset(sets: CapSets) -> None:
    """Give up capabilities; a process can never give itself more than it is permitted.  capset(2)"""
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    low = [mask & 0xFFFFFFFF for mask in sets]
    high = [mask >> 32 for mask in sets]
    _call("capset", {name: Bare(hex(value)) for name, value in sets._asdict().items()}, (header, struct.pack("6I", *low, *high)))


def mask(capabilities: Iterable[Cap]) -> int:
    """The bits of some capabilities, as CapSets and /proc/PID/status write them."""
    return sum(1 << capability for capability in set(capabilities))
