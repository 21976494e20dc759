"""Copy a file of the host to the same place in a root filesystem.

The path matters as much as the file: a program names its loader by an absolute path, and on the way there may be links:

    /bin/awk              /bin is a link to usr/bin
    /usr/bin/awk          a link to /etc/alternatives/awk
    /etc/alternatives/awk a link to /usr/bin/mawk
    /usr/bin/mawk         the file

Each link is made again as it is, so that all four names work in the container. It is the kernel's own walk, done by hand.
path_resolution(7)

Always a copy, never a hard link or a bind mount: a container that writes to its files must not write to the host's.
"""

import os
import shutil
from pathlib import Path

from scratchlab.rootfs.skeleton import make_directory


def transplant(root: Path, path: str) -> None:
    """Copy the host's file `path` to the same path below `root`, with each symbolic link on the way."""
    walked, ahead = "", path.split("/")
    while ahead:
        part = ahead.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            walked = os.path.dirname(walked)
            continue
        here = f"{walked}/{part}"
        inside = root / here[1:]
        # Where the root filesystem has a directory already, that is the way; the host's link is only the host's.
        if os.path.islink(here) and (inside.is_symlink() or not inside.exists()):
            target = _same_link(here, inside)
            ahead = target.split("/") + ahead
            walked = "" if target.startswith("/") else walked
        else:
            walked = here
    copy_file(walked, root / walked[1:])


def _same_link(here: str, inside: Path) -> str:
    target = os.readlink(here)
    if not inside.is_symlink():
        make_directory(inside.parent)
        os.symlink(target, inside)
    return os.readlink(inside)


def copy_file(source: str, target: Path) -> None:
    """Copy one file, and of its mode the rwx bits."""
    if target.exists():
        return  # came by another name already
    make_directory(target.parent)
    shutil.copyfile(source, target)
    # rwx only. A setuid program is the host administrator's decision about the host, and file capabilities, which are
    # extended attributes, stay behind too because copyfile copies bytes.  inode(7), capabilities(7)
    target.chmod(os.stat(source).st_mode & 0o777)
