"""What is in a root filesystem, counted."""

import os
from pathlib import Path
from typing import NamedTuple

_PROGRAM_DIRECTORIES = {"bin", "sbin"}


class Contents(NamedTuple):
    """A root filesystem in numbers."""

    programs: int  # executable files in a bin or sbin
    names: int  # links to them there: busybox is one program by 270 names
    libraries: int  # files called *.so or *.so.N
    files: int
    bytes: int

    def __str__(self) -> str:
        parts = [_count(self.programs, "program"), _count(self.libraries, "library"), _count(self.files, "file")]
        if self.names > self.programs:
            parts.insert(1, _count(self.names, "more name"))
        return f"{', '.join(parts)}, {self.bytes / 1e6:.1f} MB"


def contents(path: str | os.PathLike[str]) -> Contents:
    """Count what is below `path`; links are counted, not followed, and other mounts are not entered."""
    programs = names = libraries = files = size = 0
    device = os.lstat(path).st_dev
    for where, directories, entries in os.walk(path):
        directories[:] = [name for name in directories if os.lstat(f"{where}/{name}").st_dev == device]
        holds_programs = os.path.basename(where) in _PROGRAM_DIRECTORIES
        for name in entries:
            status = os.lstat(f"{where}/{name}")
            if os.path.islink(f"{where}/{name}"):
                names += holds_programs
                continue
            files += 1
            size += status.st_size
            libraries += ".so" in Path(name).suffixes
            programs += holds_programs and bool(status.st_mode & 0o111)
    return Contents(programs, names, libraries, files, size)


def describe(path: str | os.PathLike[str]) -> str:
    """A root filesystem in one line: how many programs, libraries and bytes."""
    return str(contents(path))


def _count(number: int, word: str) -> str:
    plural = word[:-1] + "ies" if word.endswith("y") else word + "s"
    return f"{number:,} {word if number == 1 else plural}"
