"""A root filesystem with one program in it: busybox, static, under the 270 names that it answers to.  busybox(1)

A static program has its libraries built in and needs no loader, so this is the smallest system that is of any use: one file
and many links. Which of its programs to be, busybox decides by the name it was called with, argv[0].
"""

import os
import subprocess
from pathlib import Path

from scratchlab.errors import HostError, InputError
from scratchlab.rootfs import hostbins, skeleton
from scratchlab.rootfs.build import Progress
from scratchlab.rootfs.executable import read_executable
from scratchlab.rootfs.transplant import copy_file


def fill(root: Path, progress: Progress) -> None:
    """Put busybox and its names into the empty directory `root`. Raises HostError where there is no static one."""
    busybox = _busybox()
    require_static(busybox)
    # bin/ls, sbin/ip, usr/bin/awk: busybox says where each belongs.
    listed = subprocess.run([busybox, "--list-full"], env={}, capture_output=True, text=True, check=True)
    names = listed.stdout.split()
    copy_file(busybox, root / "bin/busybox")
    for number, name in enumerate(names):
        if number % 20 == 0:
            progress("linking", number / len(names))
        if not os.path.lexists(root / name):  # bin/busybox is in its own list
            skeleton.make_directory((root / name).parent)
            os.symlink("/bin/busybox", root / name)
    skeleton.lay(root, "busybox")
    progress("linking", 1.0)


def _busybox() -> str:
    try:
        return os.path.realpath(hostbins.find("busybox"))
    except InputError as error:
        raise HostError("busybox is not installed on this machine", f"apt-get install busybox-static ({error.hint})") from None


def require_static(program: str) -> None:
    """Raise HostError for a program that would need a loader and libraries."""
    with open(program, "rb") as file:
        if read_executable(file.fileno()).interpreter:
            raise HostError(f"{program} is not static: it would need a loader and libraries", "apt-get install busybox-static")
