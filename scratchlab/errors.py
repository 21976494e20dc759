"""Every exception that Scratchlab raises on purpose.

    ScratchlabError             says what was asked, what was found, and what to do next
    ├── KernelError (OSError)   a system call failed; the message names the call and its arguments
    ├── StageError              a stage cannot be applied to this process: what it needs first
    ├── InputError (ValueError) what was given cannot be right; the command line exits with 2
    ├── HostError               this machine lacks something: a program, a privilege, a free subnet
    └── SandboxError            a sandbox cannot do what was asked, or not any more
        └── GoneError           the process at the other end has died

A `KernelError` looks for the cause at the moment of failure, in the process that failed, because a
second later, or from the outside, the facts may be different. `rootfs/check.py` has three kinds of InputError of its own,
for a command that is not found (127) or not executable (126).
"""

import errno as errno_names
import os
from collections.abc import Callable, Mapping
from typing import Any


class ScratchlabError(Exception):
    """`message` says what was asked and what was found; `hint`, what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class StageError(ScratchlabError):
    """A stage cannot be applied to this process, or not yet."""


class InputError(ScratchlabError, ValueError):
    """What was given cannot be right."""


class HostError(ScratchlabError):
    """This machine lacks what was asked for."""


class SandboxError(ScratchlabError):
    """A sandbox cannot do what was asked, or not any more."""


class GoneError(SandboxError):
    """The process at the other end, an agent or a keeper, has died."""


class KernelError(ScratchlabError, OSError):
    """The system call `call` failed with `errno`; `hint` is the cause found in live facts, if any."""

    def __init__(self, call: str, arguments: Mapping[str, str], errno: int, hint: str | None = None) -> None:
        listed = ", ".join(f"{name}={value}" for name, value in arguments.items())
        symbol = self.symbol(errno)
        cause = _cause(call, symbol, arguments) if hint is None else hint
        super().__init__(f"{call}({listed}): {os.strerror(errno)} ({symbol})", cause)
        self.call = call
        self.arguments = dict(arguments)
        # OSError keeps these two for `except OSError as e: e.errno`.
        self.errno = errno
        self.strerror = os.strerror(errno)

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are pickled with the arguments of their base, which here is one text instead of our four.
        return type(self), (self.call, self.arguments, self.errno, self.hint)

    @staticmethod
    def symbol(errno: int) -> str:
        """EPERM for 1: the name that manual pages use.  errno(3)"""
        return errno_names.errorcode.get(errno, str(errno))


# -- causes: (call, errno) -> a function of the arguments that looks at the live facts -------------------------------

Cause = Callable[[Mapping[str, str]], str]


def _cause(call: str, symbol: str, arguments: Mapping[str, str]) -> str:
    find = CAUSES.get((call, symbol)) or CAUSES.get(("*", symbol))
    return find(arguments) if find else ""


def _text(path: str) -> str:
    """What a file of /proc says, or '' where /proc is not mounted."""
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def _status(field: str) -> str:
    """One field of /proc/self/status, or ''.  proc_pid_status(5)"""
    lines = _text("/proc/self/status").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field + ":")), "")


def _needs(capability: str, bit: int) -> Cause:
    """What to say of EPERM from a call that needs `capability`, number `bit`.  capabilities(7)"""

    def find(_arguments: Mapping[str, str]) -> str:
        effective = _status("CapEff")
        if not effective:
            return f"the call needs {capability}"  # and without /proc there is no telling what we have
        if not int(effective, 16):
            return (
                f"{capability} is missing: this process has no capabilities. Use sudo, or apply unshare_user first "
                "(check: grep Cap /proc/self/status)"
            )
        if not int(effective, 16) & (1 << bit):
            return f"{capability} is missing here (check: capsh --decode={effective})"
        return _switched_off() or (
            f"{capability} is here, but not over this object: it may belong to another user namespace "
            "(check: cat /proc/self/uid_map)"
        )

    return find


# Switches of distributions that take away what user namespaces give, with the value that does it.
SWITCHES = {
    "kernel/apparmor_restrict_unprivileged_userns": "1",
    "kernel/unprivileged_userns_clone": "0",
    "user/max_user_namespaces": "0",
}


def _switched_off() -> str:
    for name, value in SWITCHES.items():
        if _text(f"/proc/sys/{name}") == value:
            return f"this machine restricts user namespaces (check: sysctl {name.replace('/', '.')}, which is {value})"
    return ""


def _unshare_refused(arguments: Mapping[str, str]) -> str:
    if "NEWUSER" not in arguments.get("flags", ""):
        return _needs("CAP_SYS_ADMIN", 21)(arguments)
    return _switched_off() or "no user namespace can be made in a chroot, nor by an id without a mapping (user_namespaces(7))"


def _write_refused(arguments: Mapping[str, str]) -> str:
    if arguments.get("file", "").rstrip('"').endswith("_map"):
        return (
            "a map can be written once, and without CAP_SETUID only one line for the own id, after 'deny' to setgroups "
            "(check: cat the file; user_namespaces(7))"
        )
    return _needs("CAP_SYS_ADMIN", 21)(arguments)


def _prctl_refused(arguments: Mapping[str, str]) -> str:
    if arguments.get("op") == "CAPBSET_DROP":
        return "CAP_SETPCAP is missing: apply capabilities before user, which gives it up (check: grep CapEff /proc/self/status)"
    return ""


def _id_not_mapped(_arguments: Mapping[str, str]) -> str:
    return "this id has no meaning in this user namespace: map it first, with map_ids (check: cat /proc/self/uid_map)"


def _several_threads(arguments: Mapping[str, str]) -> str:
    threads = _status("Threads")
    if threads not in ("", "1"):
        return f"this process has {threads} threads, and the call wants one: use a Sandbox (check: ls /proc/self/task)"
    return f"the kernel refused these flags: {', '.join(arguments.values())}"


def _setgroups_refused(arguments: Mapping[str, str]) -> str:
    if _text("/proc/self/setgroups") == "deny":
        return "who made this user namespace could not drop groups, so nobody in it can (check: cat /proc/self/setgroups)"
    if os.path.exists("/proc/self/gid_map") and not _text("/proc/self/gid_map"):
        return _id_not_mapped(arguments)
    return _needs("CAP_SETGID", 6)(arguments)


def _setns_refused(arguments: Mapping[str, str]) -> str:
    if "NEWUSER" in arguments.get("nstype", "") and _status("Threads") in ("", "1"):
        return "a process cannot enter the user namespace that it is in already (check: ls -l /proc/self/ns/user)"
    return _several_threads(arguments)


def _not_a_mount_point(arguments: Mapping[str, str]) -> str:
    return (
        f"{arguments.get('new_root', 'the new root')} must be a mount point that is not shared: "
        "bind-mount it on itself, after private_mounts (check: findmnt -o TARGET,PROPAGATION)"
    )


def _init_is_dead(_arguments: Mapping[str, str]) -> str:
    return "pid 1 of the pid namespace for new children has died, so nothing can be born there (pid_namespaces(7))"


CAUSES: dict[tuple[str, str], Cause] = {
    ("*", "EPERM"): _needs("CAP_SYS_ADMIN", 21),
    ("chroot", "EPERM"): _needs("CAP_SYS_CHROOT", 18),
    ("mknod", "EPERM"): _needs("CAP_MKNOD", 27),
    ("prctl", "EPERM"): _prctl_refused,
    ("setgroups", "EPERM"): _setgroups_refused,
    ("setresgid", "EPERM"): _needs("CAP_SETGID", 6),
    ("setresuid", "EPERM"): _needs("CAP_SETUID", 7),
    ("setrlimit", "EPERM"): _needs("CAP_SYS_RESOURCE", 24),
    ("unshare", "EPERM"): _unshare_refused,
    ("write", "EPERM"): _write_refused,
    ("setgroups", "EINVAL"): _id_not_mapped,
    ("setresgid", "EINVAL"): _id_not_mapped,
    ("setresuid", "EINVAL"): _id_not_mapped,
    ("unshare", "EINVAL"): _several_threads,
    ("setns", "EINVAL"): _setns_refused,
    ("setns", "EUSERS"): _several_threads,
    ("pivot_root", "EINVAL"): _not_a_mount_point,
    ("pivot_root", "EBUSY"): _not_a_mount_point,
    ("fork", "ENOMEM"): _init_is_dead,
    ("fork", "EAGAIN"): lambda _: "a limit on processes is reached (check: pids.max of its control group, ulimit -u)",
    ("mount", "ENODEV"): lambda a: f"this kernel has no filesystem {a.get('filesystemtype')} (check: cat /proc/filesystems)",
    ("mount", "ENOTDIR"): lambda _: "one of source and target is a directory, and the other is not",
    ("mount_setattr", "EINVAL"): lambda a: f"{a.get('pathname')} is not a mount point (check: findmnt {a.get('pathname')})",
    ("mount_setattr", "ENOSYS"): lambda _: "this needs Linux 5.12 or newer (check: uname -r)",
    ("mount", "EBUSY"): lambda a: f"something is already mounted there or uses it (check: findmnt {a.get('target')})",
    ("umount2", "EBUSY"): lambda a: f"a process works there or has a file open (check: fuser -vm {a.get('target')})",
    ("umount2", "EINVAL"): lambda a: f"not a mount point (check: findmnt {a.get('target')})",
    ("unshare", "ENOSPC"): lambda _: "too many namespaces (check: sysctl user | grep namespaces)",
}


# -- errors travel between processes as plain data --------------------------------------------------------------------


def to_wire(error: BaseException) -> dict[str, Any]:
    """What another process needs to raise the same error again."""
    if isinstance(error, KernelError):
        return {"kind": "KernelError", "call": error.call, "arguments": error.arguments, "errno": error.errno, "hint": error.hint}
    if isinstance(error, ScratchlabError):
        return {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    return {"kind": "SandboxError", "message": f"{type(error).__name__}: {error}", "hint": ""}


def from_wire(data: Mapping[str, Any]) -> ScratchlabError:
    """The error that `to_wire` took apart."""
    if data["kind"] == "KernelError":
        return KernelError(data["call"], data["arguments"], data["errno"], data["hint"])
    plain: list[type[ScratchlabError]] = [StageError, InputError, HostError, SandboxError, GoneError]
    kinds = {kind.__name__: kind for kind in plain}
    return kinds.get(data["kind"], ScratchlabError)(data["message"], data["hint"])
