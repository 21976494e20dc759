"""What the filesystem tests share: a tiny root filesystem, own mounts, and ways to look."""

import os
from pathlib import Path

from scratchlab.stages.filesystem import (
    private_mounts,
)
from scratchlab.stages.namespaces import unshare_mount


def own_mounts() -> None:
    unshare_mount()
    private_mounts()


def output(*command: str) -> str:
    """What a program prints, for where the standard library may be out of reach."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        os.execv(command[0], command)
    os.close(writer)
    with open(reader, "rb") as stream:
        text = stream.read().decode()
    os.wait()
    return text


def mounted_at(path: str, pid: int | str = "self") -> list[str]:
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return [line for line in lines if line.split()[4] == path]


def writable(path: Path) -> bool:
    return not os.statvfs(path).f_flag & os.ST_RDONLY
