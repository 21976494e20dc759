"""The kernel's first file system, as a cpio archive in the format newc: written here, for no tool is needed for it.

Several archives may follow each other in one file; the kernel unpacks them all over each other (initramfs format, in the
kernel's Documentation/driver-api/early-userspace/buffer-format.rst).
"""

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One file, directory or device of root's. Equal content is an equal archive: nothing has a date."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


CONSOLE = Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))


def directory(name: str) -> Entry:
    """An empty directory."""
    return Entry(name, stat.S_IFDIR | 0o755)


def file(name: str, data: bytes, mode: int = 0o644) -> Entry:
    """A regular file."""
    return Entry(name, stat.S_IFREG | mode, data)


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive of these entries, which must name a directory before what is in it."""
    listed = [*entries, Entry("TRAILER!!!", 0)]
    content = b"".join(_packed(number, entry) for number, entry in enumerate(listed, 1))
    return content + bytes(-len(content) % 512)


def _packed(number: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    fields = (number, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return _padded(head) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def below(root: Path, prefix: str, paths: Iterable[Path]) -> Iterator[Entry]:
    """Files of ours below `root` as entries below `prefix`, and the directories that they lie in."""
    made: set[str] = set()
    for path in sorted(paths):
        name = f"{prefix}/{path.relative_to(root).as_posix()}"
        parts = name.split("/")
        for depth in range(1, len(parts)):
            if (parent := "/".join(parts[:depth])) not in made:
                made.add(parent)
                yield directory(parent)
        yield file(name, path.read_bytes(), 0o755 if path.stat().st_mode & 0o100 else 0o644)
