"""An image as one file, to take to a computer that cannot build it: a Mac, a Windows laptop, thirty learners without a network.

    a tar archive, each member gzip'ed: image.json  vmlinuz.gz  initrd.gz  disk.gz
    image.json also holds the sha256 of each file before it was compressed

What arrives is checked before it gets its name: a file that was cut short, or changed, is refused.
"""

import gzip
import hashlib
import io
import json
import re
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import IO, Any

from scratchlab.errors import HostError, InputError
from scratchlab.vm import cache
from scratchlab.vm.image import Image, images, whole
from scratchlab.vm.progress import Progress, silent

_FILES = ("vmlinuz", "initrd", "disk")
_SAID = {"name", "sha256", "machine", "suite", "kernel", "python"}
_HINT = "copy it again, or have it exported again"


def export(image: Image, to: Path, progress: Progress = silent) -> None:
    """Write an image to a file."""
    if to.exists():
        raise InputError(f"{to} exists already", "name a file that does not")
    aside = to.with_name(f".{to.name}.partial")
    try:
        with tarfile.open(aside, "w") as archive:
            hashes = {name: _add(archive, image.directory / name, progress) for name in _FILES}
            facts = {**image.facts, "name": image.name, "sha256": hashes}
            _add_bytes(archive, "image.json", json.dumps(facts, indent=1).encode())
        aside.rename(to)
    except OSError as error:
        raise HostError(f"could not write {to}: {error.strerror or error}", "is there room? an image takes about 90 MB") from None
    finally:
        aside.unlink(missing_ok=True)


def _add(archive: tarfile.TarFile, path: Path, progress: Progress) -> str:
    """Add a file, compressed. Gives its hash."""
    sum_, done, total = hashlib.sha256(), 0, path.stat().st_size
    with tempfile.TemporaryFile() as packed:
        with path.open("rb") as reader, gzip.GzipFile("", "wb", 6, packed, 0) as writer:
            for data in cache.chunks(reader):
                sum_.update(data)
                writer.write(data)
                done += len(data)
                progress(f"packing {path.name}", done, total)
        member = tarfile.TarInfo(f"{path.name}.gz")
        member.size = packed.tell()
        packed.seek(0)
        archive.addfile(member, packed)
    return sum_.hexdigest()


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def import_(source: Path, progress: Progress = silent) -> Image:
    """Take an image in from a file. Raises InputError if that is not one of ours, whole and unchanged."""
    try:
        with tarfile.open(source) as archive:
            facts = _facts(archive, source)
            place = images() / str(facts["name"])
            if not whole(place):
                _take_in(archive, facts, place, source, progress)
            return Image.read(place)
    except FileNotFoundError:
        raise InputError(f"there is no file {source}", "`scratchlab vm export FILE` writes one") from None
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, KeyError) as error:
        raise InputError(f"{source} is no image, or a damaged one: {error}", _HINT) from None
    except OSError as error:
        raise HostError(f"could not take {source} in: {error.strerror or error}", "is there room? see df") from None


def _facts(archive: tarfile.TarFile, source: Path) -> dict[str, Any]:
    # The last member: a file that was cut short has none.
    member = archive.extractfile("image.json")
    try:
        facts: dict[str, Any] = dict(json.loads(member.read())) if member else {}
        known = facts.keys() >= _SAID and set(facts["sha256"]) == set(_FILES)
    except (ValueError, TypeError):
        known = False
    if not known or not re.fullmatch(r"[0-9a-f]{16}", str(facts["name"])):
        raise InputError(f"{source} is no image of this version of Scratchlab", _HINT)
    return facts


def _take_in(archive: tarfile.TarFile, facts: dict[str, Any], place: Path, source: Path, progress: Progress) -> None:
    kept = {key: value for key, value in facts.items() if key not in ("name", "sha256")}
    with cache.built_aside(place, replaces=place.is_dir()) as aside:
        _unpack(archive, facts, aside, source, progress)
        (aside / "image.json").write_text(json.dumps({**kept, "imported": True}, indent=1) + "\n")


def _unpack(archive: tarfile.TarFile, facts: dict[str, Any], aside: Path, source: Path, progress: Progress) -> None:
    for name in _FILES:
        member = archive.extractfile(f"{name}.gz")
        assert member  # a directory of that name would be none of ours
        with gzip.open(member) as reader, (aside / name).open("wb") as writer:
            progress(f"unpacking {name}", 0, 0)
            found = _write(reader, writer)
        if found != facts["sha256"][name]:
            raise InputError(f"{source} is damaged: its {name} has another hash than it says", _HINT)


def _write(reader: cache.Reader, writer: IO[bytes]) -> str:
    """Copy, with holes where there are zeros. Gives the hash of it all."""
    sum_ = hashlib.sha256()
    for data in cache.chunks(reader):
        sum_.update(data)
        cache.write_sparse(writer, data)
    writer.truncate()
    return sum_.hexdigest()
