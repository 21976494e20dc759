"""Bait for each attack: what the host lays out, what the attack is told, and how the host sees whether it got out."""

import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from scratchlab import linux
from scratchlab.attacks import Evidence, weaknesses
from scratchlab.attacks.machine import CORE_PATTERN
from scratchlab.container import Container
from scratchlab.errors import InputError, StageError
from scratchlab.linux.loop import loop_device
from scratchlab.linux.proc import parse_mountinfo
from scratchlab.rootfs.layer import unpack
from scratchlab.sandbox import Sandbox
from scratchlab.stages import Step, capabilities, step
from scratchlab.trials.hosts import Guest, own_host
from scratchlab.trials.lab import PASSWORD, Lab, gossip, key

VOLUME = "/scratchlab-volume"  # where the lab's folder is mounted in a container


class Bait(NamedTuple):
    """A weakness of our own making, ready for one attack."""

    told: Callable[[Sandbox], tuple[Any, ...]]  # the attack's arguments, once the sandbox stands
    look: Callable[[Evidence, Sandbox], str]  # what the host sees of an attack that got out, or ""
    container: Container | None = None  # the container with what the weakness needs; None: as it is
    first: tuple[Step, ...] = ()  # steps of a careless runtime, before all others
    host: Sandbox | None = None  # a host of our own to stand on


Lay = Callable[[Lab, Container | None], AbstractContextManager[Bait]]

BAITS: dict[str, Lay] = {}  # by the name of the attack


def bait(*attacks: str) -> Callable[[Callable[[Lab, Container | None], Iterator[Bait]]], Lay]:
    """Mark a function that lays out the bait for these attacks."""

    def register(function: Callable[[Lab, Container | None], Iterator[Bait]]) -> Lay:
        lay = contextmanager(function)
        BAITS.update(dict.fromkeys(attacks, lay))
        return lay

    return register


def knows(lab: Lab) -> Callable[[Evidence, Sandbox], str]:
    """The host's question to a spy: what is the secret?"""
    return lambda evidence, _: "that is the host's secret" if lab.secret in evidence.seen else ""


# -- files ------------------------------------------------------------------------------------------------------------


@bait("double_chroot")
def marker(lab: Lab, _container: Container | None) -> Iterator[Bait]:
    """A file of the host, outside the root filesystem."""
    yield Bait(lambda _: (str(lab.marker),), knows(lab))


@bait("leaked_directory")
def open_directory(lab: Lab, container: Container | None) -> Iterator[Bait]:
    """The same file, and a runtime that forgets to close a directory of the host."""
    leak = step(weaknesses.leave_open, "/sys/fs/cgroup" if os.path.isdir("/sys/fs/cgroup") else "/")
    yield Bait(lambda _: (str(lab.marker),), knows(lab), _fresh(container), (leak,))


@bait("file_handle")
def handle(lab: Lab, _container: Container | None) -> Iterator[Bait]:
    """The file's number in its filesystem."""
    found = linux.name_to_handle_at(str(lab.marker))
    yield Bait(lambda _: (found.type, found.data.hex()), knows(lab))


@bait("setuid_file")
def folder(lab: Lab, container: Container | None) -> Iterator[Bait]:
    """A folder of the host, mounted in the container."""

    def look(*_: object) -> str:
        left = [f"mode {found.st_mode & 0o7777:o}, of root" for found in map(os.stat, lab.volume.iterdir()) if _is_setuid(found)]
        return f"in the host's folder: {left[0]}" if left else ""

    visited = _with_volume(lab, container)
    yield Bait(lambda _: (_inside(lab, visited),), look, visited)


def _is_setuid(found: os.stat_result) -> bool:
    return bool(found.st_mode & stat.S_ISUID) and found.st_uid == 0


@bait("second_abi")
def folder_for_old_numbers(lab: Lab, container: Container | None) -> Iterator[Bait]:
    """A folder of the host in which a directory appears if the call was made."""
    if os.uname().machine != "x86_64":
        raise StageError(f"the second ABI of {os.uname().machine} cannot be called from a program of the first")
    visited, name = _with_volume(lab, container), "by-its-old-number"
    yield Bait(
        lambda _: (f"{_inside(lab, visited)}/{name}",),
        lambda *_: f"in the host's folder: {name}" if (lab.volume / name).is_dir() else "",
        visited,
    )


@bait("shared_mount")
def host_of_our_own(lab: Lab, container: Container | None) -> Iterator[Bait]:
    """A throw-away host, a process with a mount table of its own, that shares a folder with the container."""
    guest = _with_volume(lab, container)
    if guest.network != "host":  # a cable brings resolv, which refuses to work where mounts are shared, and does well
        guest = guest._replace(network="none", publish=())
    with own_host() as host:
        host.play([step(weaknesses.share, str(lab.volume))])

        def look(*_: object) -> str:
            mounts = parse_mountinfo(Path(f"/proc/{host.pid}/mountinfo").read_text())
            new = [mount.target for mount in mounts if mount.target.startswith(f"{lab.volume}/")]
            return f"mounted on the host: {new[0]}" if new else ""

        yield Bait(lambda _: (_inside(lab, guest),), look, guest, host=host)


@bait("device_node")
def disk(lab: Lab, _container: Container | None) -> Iterator[Bait]:
    """A disk of the host: a loop device over a file that holds the secret."""
    with loop_device(str(lab.directory / "disk"), f"{lab.secret}.".encode()) as (major, minor):
        yield Bait(lambda _: (major, minor), knows(lab))


def _fresh(container: Container | None) -> Container:
    """The container, where the weakness must be there before it. Raises StageError for a sandbox that stands already."""
    if container is None:
        raise StageError("its weakness must be made before the sandbox", "try it with a Container")
    return container


def _with_volume(lab: Lab, container: Container | None) -> Container:
    fresh = _fresh(container)
    return fresh._replace(volumes=(*fresh.volumes, f"{lab.volume}:{VOLUME}"))


def _inside(lab: Lab, container: Container) -> str:
    """Where the container finds the lab's folder: without a root of its own, where the host does."""
    return VOLUME if {"pivot", "chroot"} & {item.name for item in Guest(*container).plan()} else str(lab.volume)


@bait("core_pattern", "release_agent")
def root_of_a_machine(lab: Lab, container: Container | None) -> Iterator[Bait]:
    """A folder with a program for the kernel to run; afterwards the kernel's setting is put back."""
    visited = _with_volume(lab, container)
    before = Path(CORE_PATTERN).read_text()

    def look(*_: object) -> str:
        proof = lab.volume / "proof"
        return "a program of the container ran on the host" if proof.exists() and proof.read_text() == lab.secret else ""

    try:
        yield Bait(lambda _: (_inside(lab, visited), str(lab.volume)), look, visited)
    finally:
        if Path(CORE_PATTERN).read_text() != before:
            linux.write_file(CORE_PATTERN, before)


@bait("image_tar")
def image(lab: Lab, _container: Container | None) -> Iterator[Bait]:
    """Somebody else's image, which the host unpacks for a new container."""
    tar, outside, root = (lab.directory / name for name in ("image.tar", "outside", "image"))
    outside.mkdir()
    root.mkdir()

    def look(*_: object) -> str:
        naive_unpack(tar, root) if "unpack" in lab.careless else _refused(tar, root)
        files = sorted(path.name for path in outside.iterdir())
        disks = [path.name for path in root.iterdir() if path.is_block_device()]
        return f"outside of the image lie {', '.join(files)}; devices in it: {', '.join(disks)}" if files or disks else ""

    yield Bait(lambda _: (str(tar), str(outside), DISK), look)


DISK = os.makedev(240, 0)  # a number for local use, behind which there is nothing


def naive_unpack(tar: Path, directory: Path) -> None:
    """Unpack as Python did before its version 3.12, and many tools before it: whatever the tar says."""
    with tarfile.open(tar) as image:
        image.extraction_filter = lambda member, _path: member
        image.extractall(directory)


def _refused(tar: Path, directory: Path) -> None:
    with suppress(InputError):
        unpack(tar, directory)


# -- processes --------------------------------------------------------------------------------------------------------


@bait("host_processes")
def talkative(lab: Lab, _container: Container | None) -> Iterator[Bait]:
    """A process of the host whose command line holds the secret."""
    with gossip(lab.secret):
        yield Bait(lambda _: (PASSWORD,), knows(lab))


@bait("ptrace_neighbour")
def neighbour(lab: Lab, _container: Container | None) -> Iterator[Bait]:
    """A process of the same user, as weak as any container's, with the secret in its memory."""
    with Sandbox("neighbour") as other:
        address = other.apply(weaknesses.remember, lab.secret).value
        other.apply(capabilities, [])
        yield Bait(lambda _: (other.pid, address, len(lab.secret)), knows(lab))


@bait("foreign_root")
def strong_process(lab: Lab, _container: Container | None) -> Iterator[Bait]:
    """A process of the host, with all of root's capabilities, whose root directory is the host's."""
    with Sandbox("strong") as other:
        yield Bait(lambda _: (other.pid, str(lab.marker)), knows(lab))


@bait("host_keys")
def listed_key(lab: Lab, _container: Container | None) -> Iterator[Bait]:
    """A key of the host's root, whose name is what a spy would like to know."""
    with key(lab.secret) as description:
        word, _, rest = description.partition("-")
        yield Bait(lambda _: (f"{word}-",), lambda evidence, _: "that is a key of the host" if rest in evidence.seen else "")


@bait("keyring")
def hosts_key(lab: Lab, _container: Container | None) -> Iterator[Bait]:
    """A key of the host's root."""
    with key(lab.secret) as description:
        yield Bait(lambda _: (description,), knows(lab))
