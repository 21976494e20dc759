"""Unpacking a layer of an image: a tar that somebody else made, as root, into a directory of the host.

    ln -s /etc exit, then a file exit/passwd     a name that leads out by a link that came just before
    ../../etc/passwd                             a name that leads out by itself
    a block device 254:0                         a name for the host's disk

A link is followed as it will be in the container: with the directory as its root. A name with `..` in it is refused, and a
device left out. The same tar says what it takes away from the layers below it, as the image specification has it.
"""

import os
import shutil
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from scratchlab.errors import HostError, InputError, ScratchlabError
from scratchlab.linux import paths

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"  # "this one is gone", "all that was here is gone".  OCI image specification, layer.md
_XATTR = "SCHILY.xattr."  # how tar writes an extended attribute, such as a file's capabilities


class Unpacked(NamedTuple):
    """What became of a layer."""

    files: int  # of all kinds, with directories and links
    removed: int  # whiteouts
    left_out: tuple[str, ...]  # devices


def unpack(tar: str | Path, directory: str | Path) -> Unpacked:
    """Unpack a layer over what is in `directory` already. Nothing is written anywhere else, whoever made the tar.

    Raises InputError for a name that could only be meant to lead out, before anything is written.
    """
    root = os.path.realpath(directory)
    if not os.path.isdir(root):
        raise InputError(f"{directory} is not a directory to unpack into", f"make it first: mkdir -p {directory}")
    try:
        with tarfile.open(tar) as layer:
            members = layer.getmembers()
            for member in members:
                _refuse_what_leads_out(member)
            return _unpack(layer, members, root)
    except (tarfile.TarError, EOFError) as error:  # the second where a compressed one is cut off
        raise InputError(f"{tar} is no layer: {error}", "give a tar archive, as it is or compressed") from None
    except OSError as error:
        if isinstance(error, ScratchlabError):
            raise
        raise InputError(f"{tar}: {error.strerror}", "give a tar archive, as it is or compressed") from None


def _unpack(layer: tarfile.TarFile, members: list[tarfile.TarInfo], root: str) -> Unpacked:
    made: set[str] = set()
    devices, removed = [], 0
    for member in members:
        where, _, name = member.name.removeprefix("./").strip("/").rpartition("/")
        if member.isdev() and not member.isfifo():
            devices.append(member.name)
        elif name.startswith(WHITEOUT):
            removed += 1
            _take_away(root, where, name, made)
        else:
            made.add(_placed(layer, member, root, where, name))
    for member in reversed(members):  # the deepest first: whatever was written in it has changed a directory's time
        if member.isdir():
            _date(root, member)
    return Unpacked(len(made), removed, tuple(devices))


def _refuse_what_leads_out(member: tarfile.TarInfo) -> None:
    names = [member.name, member.linkname] if member.islnk() else [member.name]
    # The name without ".wh." is removed: ".wh..." would take away the directory above.
    hidden = os.path.basename(member.name)
    if any(".." in name.split("/") for name in names) or hidden in (WHITEOUT, f"{WHITEOUT}.", f"{WHITEOUT}.."):
        raise InputError(f"the layer holds {' -> '.join(names)!r}, which leads out of it", "do not trust this image")


# -- one entry --------------------------------------------------------------------------------------------------------


def _placed(layer: tarfile.TarFile, member: tarfile.TarInfo, root: str, where: str, name: str) -> str:
    """Write one entry. Gives where it is now, as the host sees it."""
    try:
        return _place(layer, member, root, where, name)
    except OSError as error:
        if isinstance(error, ScratchlabError):
            raise
        raise HostError(f"{member.name} of the layer cannot be written: {error.strerror}", f"check: ls -ld {root}") from None


def _place(layer: tarfile.TarFile, member: tarfile.TarInfo, root: str, where: str, name: str) -> str:
    if name in ("", "."):
        _dress(member, root)
        return root
    real = _directory(root, where)
    with paths.pinned(f"/{where}", root) as parent:
        place = f"{parent}/{name}"
        if not (member.isdir() and os.path.isdir(place) and not os.path.islink(place)):
            _remove(place)
            _write(layer, member, root, place)
        _dress(member, place)
    return os.path.join(real, name)


def _directory(root: str, where: str) -> str:
    """The directory of an entry, made if it has none of its own; links on the way are followed within the root."""
    real = paths.resolve(root, where)
    os.makedirs(real, exist_ok=True)
    return real


def _write(layer: tarfile.TarFile, member: tarfile.TarInfo, root: str, place: str) -> None:
    if member.isdir():
        os.mkdir(place)
    elif member.issym():
        os.symlink(member.linkname, place)
    elif member.islnk():
        where, _, name = member.linkname.strip("/").rpartition("/")
        with paths.pinned(f"/{where}", root) as parent:
            os.link(f"{parent}/{name}", place, follow_symlinks=False)
    elif member.isfifo():
        os.mkfifo(place)
    else:
        # "x": had another entry put a link here meanwhile, it would not be followed.
        content = layer.extractfile(member)
        with open(place, "xb") as file:
            shutil.copyfileobj(content, file) if content else None


def _dress(member: tarfile.TarInfo, place: str) -> None:
    """Owner, mode and attributes, in this order: a new owner takes the set-user-ID bit and file capabilities away."""
    if member.islnk():  # the same file as another entry's
        return
    if os.geteuid() == 0:
        os.chown(place, member.uid, member.gid, follow_symlinks=False)
    if not member.issym():
        os.chmod(place, member.mode & 0o7777)
        for key, value in member.pax_headers.items():
            if key.startswith(_XATTR):
                os.setxattr(place, key.removeprefix(_XATTR), value.encode("utf-8", "surrogateescape"))
    os.utime(place, (member.mtime, member.mtime), follow_symlinks=False)


def _date(root: str, member: tarfile.TarInfo) -> None:
    with suppress(InputError), paths.pinned(f"/{member.name}", root) as place:  # a later entry may have replaced it
        os.utime(place, (member.mtime, member.mtime))


# -- what the layer takes away ----------------------------------------------------------------------------------------


def _take_away(root: str, where: str, name: str, made: set[str]) -> None:
    real = paths.resolve(root, where)
    if not os.path.isdir(real):
        return
    with paths.pinned(f"/{where}", root) as parent:
        if name != OPAQUE:
            _remove(f"{parent}/{name.removeprefix(WHITEOUT)}")
            return
        for other in os.listdir(parent):
            if not any(path == f"{real}/{other}" or path.startswith(f"{real}/{other}/") for path in made):
                _remove(f"{parent}/{other}")


def _remove(place: str) -> None:
    """Remove a file, a link itself, or a directory with all that is in it; without following any link."""
    if os.path.isdir(place) and not os.path.islink(place):
        shutil.rmtree(place)
    else:
        with suppress(FileNotFoundError):
            os.unlink(place)
