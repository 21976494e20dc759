"""A machine that has booted, kept in files: the next one starts where it stood, in a fraction of the time.

    KEY/ram             its memory; QEMU maps it, so that guests share what they do not change
    KEY/state           its devices and processor (and its memory too, where QEMU cannot leave that out)
    KEY/disk            its disk, as it was at that moment
    KEY/snapshot.json   for whom it is of use

A snapshot fits only the QEMU, the hardware and the image that it was made with, and only a computer like this one, whose clock
the guest has measured; all that is in its name. It is made on first use, and never sent anywhere.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scratchlab.errors import HostError
from scratchlab.vm import cache, clock, library
from scratchlab.vm.hardware import Hardware, Start, this_computer
from scratchlab.vm.image import Image
from scratchlab.vm.plumbing import can_inherit, temporary
from scratchlab.vm.process import Process
from scratchlab.vm.progress import Progress, silent
from scratchlab.vm.qemu import Qemu
from scratchlab.vm.registry import Registration

_BOOT = 120.0  # seconds that a boot may take on a busy computer
_BOOTS = 3  # attempts to get one whose clock is right
_LEAVE_OUT_MEMORY = "x-ignore-shared"  # the capability: memory that is a file need not be written to the state as well
_KEPT = 5  # of the snapshots that there are, those used last
_SIZE = 700_000_000  # of one, at most
_MAPS_FILES = os.name == "posix"  # whether QEMU can have a guest's memory in a file: on Windows it cannot


@dataclass(frozen=True)
class Snapshot:
    """A complete snapshot in the cache."""

    directory: Path
    facts: dict[str, Any]

    @property
    def start(self) -> Start:
        """What a machine that is restored from it starts from."""
        ram = self.directory / "ram" if self.facts["shares_memory"] else None
        return Start(disk=self.directory / "disk", ram=ram, incoming=True)


def snapshots() -> Path:
    """The directory of all snapshots."""
    return cache.cache() / "snapshots"


def key(qemu: Qemu, hardware: Hardware, image: Image) -> str:
    """The name of the snapshot for these."""
    # The same recipe built again has the same name, and other packages.
    made = [image.name, image.facts.get("built")]
    facts = {"qemu": qemu.version, "hardware": asdict(hardware), "image": made, "agent": library.agent_hash(),
             "computer": this_computer()}  # fmt: skip
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def possible(qemu: Qemu) -> bool:
    """Whether QEMU can read a snapshot here: from an open file; or by its name, from 8.2 on."""
    return can_inherit() or qemu.number >= (8, 2)


def find(qemu: Qemu, hardware: Hardware, image: Image) -> Snapshot | None:
    """The snapshot for these, or None."""
    directory = snapshots() / key(qemu, hardware, image)
    try:
        facts = json.loads((directory / "snapshot.json").read_text())
        # Its content is not read, which would take longer than to use it; but one that was cut short shows here.
        if all((directory / name).stat().st_size == size for name, size in facts["sizes"].items()):
            return Snapshot(directory, facts)
    except (OSError, ValueError, KeyError):  # there is none, or something of it is missing
        pass
    return None


def forget(found: Snapshot) -> None:
    """Remove a snapshot that is of no use. Guests that run from it go on: they have its files open."""
    with cache.locked("snapshot"), suppress(OSError, ValueError):
        # Another program may have had the same trouble with it, and have taken another one already.
        if json.loads((found.directory / "snapshot.json").read_text()) == found.facts:
            cache.remove(found.directory)


def forget_older_library(qemu: Qemu, hardware: Hardware, image: Image) -> None:
    """Remove the snapshot for these if it holds another library: a machine would have to import ours first."""
    found = find(qemu, hardware, image)
    if found and found.facts["library"] != library.library_hash():
        forget(found)


def _forget_unused() -> None:
    """Remove snapshots that are hardly of use: of an older library, or a QEMU that was replaced."""
    used = {facts.parent: facts.stat().st_mtime for facts in snapshots().glob("[!.]*/snapshot.json")}
    for directory in sorted(used, key=lambda found: used[found])[:-_KEPT]:
        cache.remove(directory)


def have(qemu: Qemu, hardware: Hardware, image: Image, progress: Progress = silent) -> Snapshot:
    """The snapshot for these, taken now if there is none: a few seconds, once."""
    if found := find(qemu, hardware, image):
        return found
    with cache.locked("snapshot"):
        found = find(qemu, hardware, image)  # another program may have taken it while we waited
        if not found:
            _take(qemu, hardware, image, progress)
            found = find(qemu, hardware, image)
    if not found:
        raise HostError("the snapshot that was just taken is gone", "does something else remove files from the cache directory?")
    return found


def _take(qemu: Qemu, hardware: Hardware, image: Image, progress: Progress) -> None:
    place = snapshots() / key(qemu, hardware, image)
    cache.remove_unfinished(snapshots())
    _forget_unused()
    cache.need_space(cache.cache(), _SIZE, "taking a snapshot")
    try:
        with cache.built_aside(place, replaces=place.is_dir()) as aside:
            _fill(aside, qemu, hardware, image, progress)
    except OSError as error:
        raise HostError(f"cannot write a snapshot: {error}", "is there room? see df, and XDG_CACHE_HOME") from None


def _fill(place: Path, qemu: Qemu, hardware: Hardware, image: Image, progress: Progress) -> None:
    shares = _boot_until_right(place, qemu, hardware, image, progress)
    if not shares:
        (place / "ram").unlink(missing_ok=True)
    sizes = {path.name: path.stat().st_size for path in place.iterdir()}
    facts = {"image": image.name, "shares_memory": shares, "library": library.library_hash(), "sizes": sizes,
             "taken": time.time_ns()}  # fmt: skip
    (place / "snapshot.json").write_text(json.dumps(facts) + "\n")


def _boot_until_right(place: Path, qemu: Qemu, hardware: Hardware, image: Image, progress: Progress) -> bool:
    """Boot and save a machine whose clock runs as ours does. Says whether its memory could be left out."""
    with initrd(image) as first:
        ram = place / "ram" if _MAPS_FILES else None
        start = Start(place / "disk", ram, saves=True, kernel=image.kernel, initrd=first)
        for _ in range(_BOOTS):
            cache.copy_sparse(image.disk, place / "disk")
            measured, shares = _boot(Process(qemu, hardware, start), place / "state", progress)
            if measured.is_right:
                return shares
            start = replace(start, more=measured.correction)
    raise _wrong_clock()


def _wrong_clock() -> HostError:
    return HostError("the clock of a machine runs wrong here", "is this computer very busy? try again when it is not")


def _boot(process: Process, state: Path, progress: Progress) -> tuple[clock.Rate, bool]:
    """Boot a machine, and save it if its clock is right. Gives its clock's rate, and whether its memory could be left out."""
    try:
        measured = _warm_up(process, progress)
        if not measured.is_right:
            return measured, False
        progress("saving", 0, 0)
        return measured, _save(process, state)
    finally:
        process.stop()


def _warm_up(process: Process, progress: Progress) -> clock.Rate:
    """Let a machine boot, and use all its tools once. Gives what its clock said meanwhile."""
    progress("first boot", 0, 0)
    process.expect("ready", _BOOT)
    before = clock.read(process)
    progress("warming up", 0, 0)
    process.say(do="warm")
    process.expect("warm", _BOOT)
    return clock.compare(before, clock.read(process))


def _save(process: Process, state: Path) -> bool:
    """Write the machine's state to a file, and say whether its memory could be left out."""
    shares = _MAPS_FILES and can_leave_out_memory(process)
    with state.open("wb") as file:
        process.qmp("migrate", uri=process.qmp.file("state", file))
    _wait_for_migration(process)
    process.qmp("quit")
    return shares


def can_leave_out_memory(process: Process) -> bool:
    """Ask QEMU to leave shared memory out of the state, and say whether it can."""
    try:
        process.qmp("migrate-set-capabilities", capabilities=[{"capability": _LEAVE_OUT_MEMORY, "state": True}])
    except HostError:
        return False
    return True


def _wait_for_migration(process: Process) -> None:
    while (status := process.qmp("query-migrate").get("status")) != "completed":
        if status in ("failed", "cancelled"):
            raise HostError(f"QEMU could not save the machine: {status}", "is the disk full? see df")
        time.sleep(0.02)


def restore(qemu: Qemu, hardware: Hardware, found: Snapshot, open_network: bool, registration: Registration) -> Process:
    """A machine that goes on where the snapshot stood. Raises HostError or GoneError if it does not fit."""
    process = Process(qemu, hardware, found.start, open_network, registration)
    try:
        if found.facts["shares_memory"]:
            can_leave_out_memory(process)
        with (found.directory / "state").open("rb") as file:
            process.qmp("migrate-incoming", uri=process.qmp.file("state", file))
        os.utime(found.directory / "snapshot.json")
    except OSError as error:
        process.stop()
        raise HostError(f"somebody has just removed the snapshot: {error}", "try again") from None
    except BaseException:
        process.stop()
        raise
    return process


def boot(qemu: Qemu, hardware: Hardware, image: Image, open_network: bool, registration: Registration) -> Process:
    """A machine that boots, which takes some seconds; and boots again if its clock does not run as ours does."""
    with initrd(image) as first:
        start = Start(image.disk, kernel=image.kernel, initrd=first)
        for _ in range(_BOOTS):
            process = Process(qemu, hardware, start, open_network, registration)
            measured = _booted(process)
            if measured.is_right:
                return process
            start = replace(start, more=measured.correction)
    raise _wrong_clock()


def _booted(process: Process) -> clock.Rate:
    """Let a machine boot, and give its clock's rate. One that cannot be used has ended."""
    try:
        process.expect("ready", _BOOT)
        measured = clock.measure(process)
    except BaseException:
        process.stop()
        raise
    if not measured.is_right:
        process.stop()
    return measured


@contextmanager
def initrd(image: Image) -> Iterator[Path]:
    """The image's first file system with today's library behind it, in a file while QEMU reads it."""
    os.utime(image.directory / "image.json")  # it is of use
    content = image.initrd.read_bytes() + library.for_first_boot()
    with temporary(content) as path:
        yield path
