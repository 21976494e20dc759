"""The library as it is installed here, for the guest: a learner's own change to it counts at the next start."""

import hashlib
import io
import tarfile
from functools import cache
from pathlib import Path

import scratchlab
from scratchlab.vm import cpio
from scratchlab.vm.link import as_root

PLACE = "/opt/scratchlab"  # where it lies in the guest
_PACKAGE = Path(scratchlab.__file__).parent
_NOTEBOOKS = _PACKAGE / "lessons" / "notebooks"
_HASH = "hash"  # a file beside the package that says which one it is


def files() -> list[Path]:
    """All files of the package that a guest wants, in order."""
    return sorted(path for path in _PACKAGE.rglob("*") if path.is_file() and not _is_left_out(path))


def _is_left_out(path: Path) -> bool:
    """What a tool has made, and the notebooks, which a wheel carries for this side."""
    return "__pycache__" in path.parts or ".ipynb_checkpoints" in path.parts or _NOTEBOOKS in path.parents


@cache
def library_hash() -> str:
    """A name for the whole package as it is now."""
    return _hash(files())


@cache
def agent_hash() -> str:
    """A name for the part that runs as process 1: a snapshot of another one is of no use."""
    return _hash([path for path in files() if path.is_relative_to(_PACKAGE / "vm" / "guest")])


def _hash(paths: list[Path]) -> str:
    sum_ = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        sum_.update(f"{path.relative_to(_PACKAGE).as_posix()} {len(content)}\n".encode() + content)
    return sum_.hexdigest()[:16]


def for_first_boot() -> bytes:
    """The package for the first file system, whose directory `brought` is copied onto the disk."""
    prefix = f"brought{PLACE}/scratchlab"
    entries = [*cpio.below(_PACKAGE, prefix, files()), cpio.file(f"brought{PLACE}/{_HASH}", library_hash().encode())]
    return cpio.archive(entries)


def as_tar() -> bytes:
    """The package as a tar archive, to be unpacked at PLACE."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in files():
            archive.add(path, f"scratchlab/{path.relative_to(_PACKAGE).as_posix()}", filter=as_root)
        _add_text(archive, _HASH, library_hash())
    return stream.getvalue()


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(text)
    archive.addfile(member, io.BytesIO(text.encode()))
