"""The system calls that Python lacks, one function each, with the manual page's name and order.

Every call goes through `_call`, which knows errors and the ledger.
"""

import ctypes
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from scratchlab.errors import InputError
from scratchlab.linux import bpf
from scratchlab.linux.flags import (
    At,
    Cap,
    Clone,
    CloseRange,
    LandlockFs,
    LandlockNet,
    LandlockScope,
    Mount,
    MountAttr,
    MoveMount,
    OpenTree,
    Prctl,
    Resolve,
    SeccompFlag,
    SeccompOp,
    Umount,
)
from scratchlab.linux.ledger import Bare, record
from scratchlab.linux.numbers import here

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, arguments: Mapping[str, object], words: Sequence[object] | None = None) -> int:
    """Make a system call with `arguments`, named as in its manual page.

    Where the kernel wants something else than what a person would read (a struct), `words` is what is really passed.
    Text becomes a C string, None becomes NULL, bytes and buffers pass by reference.
    """
    passed = [_word(value) for value in (arguments.values() if words is None else words)]

    def act() -> int:
        result = int(_libc.syscall(ctypes.c_long(here()[name]), *passed))
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


def prctl(op: Prctl, arg2: int | str = 0, arg3: int | None = None) -> int:
    """Change or ask one attribute of this process.  prctl(2)"""
    shown = {"op": op, "arg2": arg2} | ({} if arg3 is None else {"arg3": arg3})
    return _call("prctl", shown, (op, arg2, arg3 or 0, 0, 0))


def seccomp(operation: SeccompOp, flags: SeccompFlag, args: bpf.Program) -> None:
    """Have the kernel run a filter before each system call of this thread, for good.  seccomp(2)"""
    code = ctypes.create_string_buffer(bpf.assemble(args), 8 * len(args))
    fprog = struct.pack("HP", len(args), ctypes.addressof(code))  # struct sock_fprog
    arguments = {"operation": operation, "flags": flags, "args": Bare(f"{len(args)} instructions")}
    _call("seccomp", arguments, (operation, flags, fprog))


def landlock_create_ruleset(fs: LandlockFs, net: LandlockNet, scoped: LandlockScope, abi: int) -> int:
    """A set of rules for these accesses, which allows none of them yet. Gives a file descriptor.  landlock_create_ruleset(2)"""
    # struct landlock_ruleset_attr has grown; a kernel refuses bytes that it does not know, unless they are 0.
    attr = struct.pack("3Q", fs, net, scoped)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    return _call("landlock_create_ruleset", {"fs": fs, "net": net, "scoped": scoped}, (attr, len(attr), 0))


def landlock_abi() -> int:
    """Which version of Landlock this kernel has.  landlock_create_ruleset(2)"""
    flags = {"attr": None, "size": 0, "flags": Bare("LANDLOCK_CREATE_RULESET_VERSION")}
    return _call("landlock_create_ruleset", flags, (None, 0, 1))


def landlock_add_rule(ruleset_fd: int, allowed_access: LandlockFs | LandlockNet, below: int) -> None:
    """Allow accesses: to files at or below an open directory or file, or to one TCP port.  landlock_add_rule(2)"""
    if isinstance(allowed_access, LandlockFs):
        rule, arguments = (1, struct.pack("=Qi", allowed_access, below)), {"parent_fd": below}
    else:
        rule, arguments = (2, struct.pack("QQ", allowed_access, below)), {"port": below}
    shown = {"ruleset_fd": ruleset_fd, "allowed_access": allowed_access, **arguments}
    _call("landlock_add_rule", shown, (ruleset_fd, *rule, 0))


def landlock_restrict_self(ruleset_fd: int) -> None:
    """Have the kernel hold this thread and its children to the rules, for good.  landlock_restrict_self(2)"""
    _call("landlock_restrict_self", {"ruleset_fd": ruleset_fd, "flags": 0})


# LSM_ID_…  linux/lsm.h
_SECURITY_MODULES = {
    100: "capability", 101: "selinux", 102: "smack", 103: "tomoyo", 104: "apparmor", 105: "yama", 106: "loadpin",
    107: "safesetid", 108: "lockdown", 109: "bpf", 110: "landlock", 111: "ima", 112: "evm", 113: "ipe",
}  # fmt: skip


def lsm_list_modules() -> list[str]:
    """The security modules that decide in this kernel, in their order; since Linux 6.8.  lsm_list_modules(2)"""
    ids, size = ctypes.create_string_buffer(8 * 64), ctypes.c_uint32(8 * 64)
    count = _call("lsm_list_modules", {"flags": 0}, (ids, ctypes.byref(size), 0))
    return [_SECURITY_MODULES.get(number, str(number)) for number in struct.unpack_from(f"{count}Q", ids)]


# -- files ------------------------------------------------------------------------------------------------------------


def close_range(first: int, last: int, flags: CloseRange = CloseRange(0)) -> None:
    """Close many file descriptors, or mark them to be closed by execve.  close_range(2)"""
    _call("close_range", {"first": first, "last": last, "flags": flags})


# -- capabilities -----------------------------------------------------------------------------------------------------


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
