"""Where images and snapshots lie: in the user's cache directory, each in a directory that its content names.

    CACHE/images/HASH/        vmlinuz  initrd  disk  image.json          the same on every machine
    CACHE/snapshots/KEY/      ram  state  disk  snapshot.json            of use on this machine only
    CACHE/fetched/HASH/       what an interrupted build had fetched, so that the next one need not

Each directory grows under another name and gets its own in one rename(2): what has a name is complete.
"""

import gzip
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from scratchlab.errors import HostError
from scratchlab.owner import start_time

Reader = IO[bytes] | gzip.GzipFile

_CHUNK = 1 << 20


def cache() -> Path:
    """The directory of all this; made if it is not there."""
    own = os.environ.get("XDG_CACHE_HOME")
    path = (Path(own) if own else Path.home() / _usual()) / "scratchlab" / "vm"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(
            f"cannot make the cache directory {path}: {error.strerror}", "set XDG_CACHE_HOME to one of your own"
        ) from None
    return path


def _usual() -> str:
    return {"darwin": "Library/Caches", "win32": "AppData/Local"}.get(sys.platform, ".cache")


@contextmanager
def built_aside(place: Path, replaces: bool = False) -> Iterator[Path]:
    """A new directory to fill; named `place` at the end, or removed after an error.

    Whoever is second to finish gives way; unless this one `replaces` what has the name.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        if replaces:
            remove(place)
        try:
            aside.rename(place)
        except OSError:
            if not place.is_dir():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def remove(directory: Path) -> None:
    """Remove a directory. Others see it whole, and then not at all, though its files go one by one."""
    doomed = directory.with_name(f".{directory.name}.gone.{os.getpid()}")
    try:
        directory.rename(doomed)
    except FileNotFoundError:
        return
    except OSError:  # Windows, where somebody has a file of it open
        doomed = directory
    shutil.rmtree(doomed, ignore_errors=True)


def remove_unfinished(directory: Path) -> None:
    """Remove what killed builds left: the number in its name is that of a process which is gone."""
    for path in directory.glob(".*.*"):
        number = path.name.rpartition(".")[2]
        if number.isdigit() and not start_time(int(number)):
            shutil.rmtree(path, ignore_errors=True)


def need_space(directory: Path, size: int, what: str) -> None:
    """Raise HostError unless `size` bytes are free there."""
    free = shutil.disk_usage(directory).free
    if free < size:
        raise HostError(
            f"{what} needs {size / 1e6:.0f} MB in {directory}, and {free / 1e6:.0f} MB are free",
            "make room, or set XDG_CACHE_HOME to a directory on a larger disk",
        )


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time for what has this name; the kernel lets go when we die.  flock(2)"""
    with open(cache() / f"{name}.lock", "w") as file:
        try:
            import fcntl
        except ImportError:  # not this system's: then two may do the same work, and the second to finish gives way
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file that is mostly holes, holes and all."""
    with source.open("rb") as reader, target.open("wb") as writer:
        for data in chunks(reader):
            write_sparse(writer, data)
        writer.truncate()


def chunks(reader: Reader) -> Iterator[bytes]:
    """What is left in a file, piece by piece."""
    while data := reader.read(_CHUNK):
        yield data


def write_sparse(writer: IO[bytes], data: bytes) -> None:
    """Write a piece, or leave a hole where it is all zeros; truncate() at the end makes the last hole.  lseek(2)"""
    if data.count(0) == len(data):
        writer.seek(len(data), os.SEEK_CUR)
    else:
        writer.write(data)
