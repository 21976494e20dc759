"""The notebook that a kernel is for: its name, and the files beside it, which the machine gets a copy of."""

import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from scratchlab.vm.link import as_root

PLACE = "/root"  # where a cell runs, in the machine

_LARGEST = 5_000_000  # bytes of one file
_MOST = 20_000_000  # bytes of all of them: a second and a half of each start
_MOST_LOOKED_AT = 5_000
_DEPTH = 3  # folders below the notebook's
_MADE = {"__pycache__", "node_modules"}


class Notebook(NamedTuple):
    """A notebook, or as much as Jupyter says about it."""

    name: str  # its file's name; '' if Jupyter does not say
    folder: Path

    @classmethod
    def of(cls, environment: Mapping[str, str], folder: Path) -> "Notebook":
        """The notebook of a kernel that was started with this environment, in this folder."""
        session = Path(environment.get("JPY_SESSION_NAME", ""))
        if session.suffix != ".ipynb":  # a console's, or none
            return cls("", folder)
        return cls(session.name, session.parent if session.is_absolute() and session.parent.is_dir() else folder)


class Files(NamedTuple):
    """What lies beside a notebook."""

    taken: list[Path]
    left_out: list[Path]  # too large, or too many


def beside(folder: Path) -> Files:
    """The files of a folder that go into a machine: the nearest first, and nothing hidden."""
    found = Files([], [])
    size = 0
    for path in sorted(_below(folder), key=lambda path: (len(path.parts), path)):
        try:
            own = path.stat().st_size
        except OSError:  # it has gone since it was found
            continue
        fits = own <= _LARGEST and size + own <= _MOST
        size += own if fits else 0
        (found.taken if fits else found.left_out).append(path)
    return found


def _below(folder: Path) -> Iterator[Path]:
    looked_at = 0
    for place, folders, names in os.walk(folder):
        here = Path(place)
        deep = len(here.relative_to(folder).parts) >= _DEPTH
        folders[:] = [] if deep else sorted(name for name in folders if _is_wanted(here / name))
        for name in sorted(names):
            looked_at += 1
            if looked_at > _MOST_LOOKED_AT:
                return
            if not name.startswith(".") and (here / name).is_file() and os.access(here / name, os.R_OK):
                yield here / name


def _is_wanted(folder: Path) -> bool:
    return not (folder.name.startswith(".") or folder.name in _MADE or (folder / "pyvenv.cfg").exists())


def as_tar(folder: Path, files: list[Path]) -> bytes:
    """Files as a tar archive, to be unpacked at PLACE; what a link leads to goes in its place."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, dereference=True) as archive:
        for path in files:
            with suppress(FileNotFoundError):  # it has gone since it was found
                content = path.read_bytes()  # at once: a file that is being written has another length at each look
                member = as_root(archive.gettarinfo(path, path.relative_to(folder).as_posix()))
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def one_file(name: str, content: bytes) -> bytes:
    """One file as a tar archive, to be unpacked at PLACE."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()
