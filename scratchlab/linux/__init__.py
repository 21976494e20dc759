"""What the kernel offers, without opinion: `linux.mount(...)`, `linux.Mount.BIND`."""

from scratchlab.linux.flags import (
    NAMESPACES,
    At,
    Cap,
    Clone,
    InterfaceFlag,
    Mount,
    MountAttr,
    MoveMount,
    OpenTree,
    Prctl,
    Ptrace,
    Resolve,
    Umount,
)
from scratchlab.linux.ledger import Call, recording
from scratchlab.linux.posix import (
    chdir,
    chmod,
    chroot,
    fchdir,
    fork,
    mkdir,
    mknod,
    pidfd_open,
    set_flags,
    setgroups,
    setresgid,
    setresuid,
    setrlimit,
    symlink,
    write_file,
)
from scratchlab.linux.reach import Handle, add_key, keyctl, name_to_handle_at, open_by_handle_at, ptrace
from scratchlab.linux.syscalls import (
    CapSets,
    capget,
    capset,
    mask,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
    openat2,
    pivot_root,
    prctl,
    setdomainname,
    sethostname,
    setns,
    umount2,
    unshare,
)

__all__ = [
    "At", "Call", "Cap", "CapSets", "Clone", "Handle", "InterfaceFlag", "Mount", "MountAttr", "MoveMount", "NAMESPACES",
    "OpenTree", "Prctl", "Ptrace", "Resolve", "Umount", "add_key", "capget", "capset", "chdir", "chmod", "chroot", "fchdir",
    "fork", "keyctl", "mask", "mkdir", "mknod", "mount", "mount_setattr", "move_mount", "name_to_handle_at",
    "open_by_handle_at", "open_tree", "openat2", "pidfd_open", "pivot_root", "prctl", "ptrace", "recording", "set_flags",
    "setdomainname", "setgroups", "sethostname", "setns", "setresgid", "setresuid", "setrlimit", "symlink", "umount2",
    "unshare", "write_file",
]  # fmt: skip
