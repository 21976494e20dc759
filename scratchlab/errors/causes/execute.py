"""execve: the file is there, and yet it is not found, not permitted, not a program.  execve(2)"""

import os
import re
import resource
import stat

from scratchlab.errors import facts
from scratchlab.errors.cause import Asked, Cause

_PAGE = "execve(2)"


def _head(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(4096)
    except OSError:
        return b""


def _interpreter(head: bytes) -> str:
    """The second file that execve opens: a script names it in its first line, a program among its first bytes.  elf(5)"""
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n")[0].strip(b" \t").replace(b"\t", b" ").split(b" ")
        return os.fsdecode(words[0]) if words[0] else ""
    found = re.search(rb"(/[\w.+/-]*ld[\w.+-]*\.so[\w.]*)\0", head) if head.startswith(b"\x7fELF") else None
    return os.fsdecode(found[1]) if found else ""


def no_program(asked: Asked) -> Cause | None:
    """ENOENT: the file itself, or the one that must read it."""
    path = asked.text("pathname")
    if "/" not in path:
        return Cause(f"{path!r} is not here: no directory of PATH holds it", f"type {path}", _PAGE)
    if not os.path.exists(path):
        return None if os.path.lexists(path) else Cause(f"{path!r} does not exist here", f"namei -l {path}", _PAGE)
    head = _head(path)
    interpreter = _interpreter(head)
    if not interpreter or os.path.exists(interpreter):
        return None
    if not head.startswith(b"#!"):
        return Cause(f"{path} is there, but its loader is {interpreter!r}, which is not", f"file {path}", _PAGE)
    windows = " (a line that ends in \\r: a file from Windows)" if interpreter.endswith("\r") else ""
    return Cause(f"{path} is there, but its first line names {interpreter!r}, which is not{windows}", f"head -1 {path}", _PAGE)


def may_not_execute(asked: Asked) -> Cause | None:
    """EACCES: a directory, no x bit, a mount with noexec."""
    path = asked.text("pathname")
    if not os.path.exists(path):
        return None
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        return Cause(f"{path} is not a file, and only files can be executed", f"stat {path}", _PAGE)
    place = facts.mount_of(path)
    if place and "noexec" in place.options:
        return Cause(f"{path} is on {place.target}, which is mounted with noexec", f"findmnt -T {path}", "mount(8)")
    if not mode & 0o111:
        return Cause(f"{path!r} is not executable: no x in {stat.filemode(mode)}. Use chmod +x", f"ls -l {path}", _PAGE)
    if not os.access(path, os.X_OK, effective_ids=True):
        return Cause(f"{path!r} is not executable by {facts.who()}: {stat.filemode(mode)}", f"ls -l {path}", _PAGE)
    interpreter = _interpreter(_head(path))
    if interpreter and not os.access(interpreter, os.X_OK, effective_ids=True):
        return Cause(f"{path} is read by {interpreter}, which is not executable here", f"ls -l {interpreter}", _PAGE)
    return None


def not_a_program(asked: Asked) -> Cause | None:
    """ENOEXEC: neither a program nor a script."""
    path = asked.text("pathname")
    head = _head(path)
    if not head:
        return Cause(f"{path!r} is empty", f"ls -l {path}", _PAGE)
    if head.startswith(b"\x7fELF"):
        return Cause(
            f"{path!r} is a program for another machine, or is damaged; this one is {os.uname().machine}",
            f"file {path}",
            "elf(5)",
        )
    return Cause(f"{path!r} is neither a program for this machine nor a script with #!", f"head -c 20 {path}", _PAGE)


def too_many_words(_asked: Asked) -> Cause | None:
    """E2BIG: arguments and environment share a quarter of the stack."""
    soft, _ = resource.getrlimit(resource.RLIMIT_STACK)
    most = "6 MB" if soft == resource.RLIM_INFINITY else f"{max(soft // 4, 131072)} bytes"
    return Cause(f"arguments and environment may be {most} together, and one word 128 KiB", "getconf ARG_MAX; env | wc -c", _PAGE)
