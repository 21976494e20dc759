"""Paths in somebody else's root filesystem: a link in it must not lead us, who are root, out of it.

    ROOTFS/dev -> /etc      mount(2) at "ROOTFS/dev" would follow the link to the host's /etc

Two ways to be sure. For what exists, the kernel walks the path with `ROOTFS` as its root and hands back a descriptor; for
what does not exist yet, `resolve` walks in Python.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from scratchlab.errors import InputError, KernelError
from scratchlab.linux.flags import Resolve
from scratchlab.linux.ledger import look
from scratchlab.linux.syscalls import openat2

_MOST_LINKS = 40  # where the kernel gives up too.  path_resolution(7)
_MOST_TRIES = 128  # each takes microseconds; a busy machine can spoil many in a row


@contextmanager
def pinned(path: str, root: str = "") -> Iterator[str]:
    """What `path` names in `root`, as a path that nobody can redirect meanwhile.  openat2(2)

    Without `root` it is `path` itself. Raises InputError where it does not exist. What is mounted there later is not seen
    through it: pin the path again.
    """
    if not root:
        if not os.path.exists(path):
            raise _missing(path)
        yield path
        return
    fd = _pin(root, path)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def open_root(root: str) -> int:
    """A descriptor of a root filesystem's directory, to walk from.  open(2)"""
    return look("open", {"pathname": root}, lambda: os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))


def open_inside(root: int, path: str, flags: int) -> int:
    """Open what `path` leads to where the directory `root` is the root: /run, and ../run in a link, are ROOT/run.  openat2(2)"""
    tries = 0
    while True:
        try:
            return openat2(root, path, flags | os.O_CLOEXEC, resolve=Resolve.IN_ROOT | Resolve.NO_MAGICLINKS)
        except KernelError as error:
            tries += 1
            # Something on this machine was renamed or mounted while the walk came to a "..": an escape could not be ruled out.
            if error.errno != errno.EAGAIN or tries == _MOST_TRIES:
                raise


def _pin(root: str, path: str) -> int:
    directory = open_root(root)
    try:
        return open_inside(directory, path, os.O_PATH)
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise _missing(path, root) from None
        raise
    finally:
        os.close(directory)


def _missing(path: str, root: str = "") -> InputError:
    where = f"{path} in {root}" if root else path
    return InputError(f"{where} does not exist, and only what exists can be mounted on", "create it, or apply mount_points first")


def resolve(root: str, path: str) -> str:
    """Where `path` leads when `root` is the root directory, as a path on the host.  path_resolution(7)

    Its last parts may not exist yet. Raises InputError for a ring of links.
    """
    real, todo, links = root, _parts(path), 0
    while todo:
        part = todo.pop(0)
        here = os.path.join(real, part)
        if part == "..":
            real = real if real == root else os.path.dirname(real)  # /.. is /, in there too
        elif not os.path.islink(here):
            real = here
        else:
            links += 1
            if links > _MOST_LINKS:
                raise InputError(f"{path} in {root} leads through more than {_MOST_LINKS} links", f"look at {here}")
            link = os.readlink(here)
            real = root if link.startswith("/") else real
            todo = _parts(link) + todo
    return real


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
