"""What a virtual machine needs from this computer, and what of it is here: `scratchlab vm doctor`."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from scratchlab.vm import accelerator, cache, image, packages, qemu, snapshot
from scratchlab.vm.hardware import Hardware
from scratchlab.vm.recipe import default_machine


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    found: str
    works: bool = True
    advice: str = ""

    def __str__(self) -> str:
        advice = f"\n         {self.advice}" if self.advice else ""
        return f"{'works  ' if self.works else 'FAILS  '}{self.what:<14} {self.found}{advice}"


def examine(kind: str = "") -> Iterator[Finding]:
    """Look at everything, in the order in which a machine needs it. Nothing is built; the accelerator is tried."""
    machine = kind or default_machine()
    program = qemu.find(machine)
    built = image.find(machine)
    yield _qemu(program, machine)
    yield _image(built)
    taken = None
    if program and built:
        parts = Hardware(machine, accelerator.choose(program, built))
        taken = snapshot.find(program, parts, built)
        yield _accelerator(parts.accelerator)
        yield _snapshot(taken)
    yield _space(0 if taken else image.WORK_SIZE)


def _qemu(program: qemu.Qemu | None, machine: str) -> Finding:
    if program:
        return Finding("QEMU", f"{program.version}, {program.command[-1] if len(program.command) == 1 else 'unpacked by us'}")
    if shutil.which("apt-get"):
        return Finding("QEMU", "not installed; fetched and unpacked at first use, without root")
    return Finding("QEMU", f"there is no qemu-system-{machine}", False, qemu.how_to_install(machine))


def _image(built: image.Image | None) -> Finding:
    if built:
        facts = built.facts
        return Finding(
            "image",
            f"{built.name}: {facts['suite']}, Linux {facts['kernel']}, Python {facts['python']}, {_size(built.directory)}",
        )
    if missing := packages.missing():
        return Finding("image", f"there is none, and without {missing} none can be built here", False, packages.elsewhere())
    return Finding("image", "not built yet; `scratchlab vm build` does it, or the first use")


def _accelerator(chosen: str) -> Finding:
    if chosen == accelerator.EMULATION:
        return Finding("processor", "emulated (tcg): a machine starts in less than a second all the same")
    return Finding("processor", f"this computer's own ({chosen})")


def _snapshot(taken: snapshot.Snapshot | None) -> Finding:
    if not taken:
        return Finding("snapshot", "not taken yet: the first start takes it")
    shared = "" if taken.facts["shares_memory"] else "; this QEMU cannot share memory between machines"
    return Finding("snapshot", f"{taken.directory.name}, {_size(taken.directory)}{shared}")


def _space(needed: int) -> Finding:
    free = shutil.disk_usage(cache.cache()).free
    enough = free >= needed
    return Finding(
        "disk", f"{free / 1e9:.1f} GB free in {cache.cache()}", enough, "" if enough else "set XDG_CACHE_HOME to a larger one"
    )


def _size(directory: Path) -> str:
    # What a file takes, not how long it is: most of a disk is holes. Windows does not say.
    return f"{sum(getattr(path.stat(), 'st_blocks', 0) for path in directory.iterdir()) * 512 / 1e6:.0f} MB"
