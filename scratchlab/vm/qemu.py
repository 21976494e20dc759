"""Where QEMU is on this machine; or a copy of our own, unpacked without root where it is not installed."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from scratchlab.errors import HostError
from scratchlab.vm import cache
from scratchlab.vm.progress import Progress, silent
from scratchlab.vm.recipe import DEBIAN_NAMES, default_machine

# Places outside of PATH: Red Hat's, and Homebrew's on the two kinds of Mac.
_ELSEWHERE = ("/usr/libexec", "/usr/local/bin", "/opt/homebrew/bin", "C:/Program Files/qemu")

_PACKAGES = {"x86_64": "qemu-system-x86", "aarch64": "qemu-system-arm"}


@dataclass(frozen=True)
class Qemu:
    """A QEMU: the words that start it, and its version."""

    command: tuple[str, ...]
    version: str

    @property
    def number(self) -> tuple[int, ...]:
        """The version as numbers, to compare."""
        return tuple(int(part) for part in re.findall(r"\d+", self.version)[:2])


def find(machine: str) -> Qemu | None:
    """The installed QEMU for this kind of guest, or the one that was unpacked before; None if there is none."""
    name = f"qemu-system-{machine}"
    path = shutil.which(name) or next((found for place in _ELSEWHERE if (found := shutil.which(name, path=place))), None)
    if path:
        return _asked((path,))
    place = _unpacked_place(machine)
    return _asked(_by_own_loader(place, name)) if place.is_dir() else None


def have(machine: str, progress: Progress = silent) -> Qemu:
    """QEMU for this kind of guest; fetched and unpacked now if there is none. Raises HostError."""
    found = find(machine)
    if not found:
        _unpack(machine, progress)
        found = find(machine)
    if not found:
        raise HostError(f"the QEMU that was just unpacked does not start: {_unpacked_place(machine)}", how_to_install(machine))
    return found


def how_to_install(machine: str) -> str:
    """What to type, on the systems that people have."""
    return (
        f"install QEMU: apt-get install {_PACKAGES[machine]} (Debian, Ubuntu), dnf install qemu-system-{machine.split('_')[0]} "
        "(Fedora), brew install qemu (macOS), winget install SoftwareFreedomConservancy.QEMU (Windows)"
    )


def _asked(command: tuple[str, ...]) -> Qemu | None:
    """The QEMU behind these words, if it answers."""
    try:
        said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return None
    match = re.match(r"QEMU emulator version (.+)", said)
    return Qemu(command, match[1]) if match else None


# -- a copy of our own ------------------------------------------------------------------------------------------------


def _unpacked_place(machine: str) -> Path:
    return cache.cache() / f"qemu-{machine}"


def _unpack(machine: str, progress: Progress) -> None:
    from scratchlab.vm.packages import Apt, unpack

    if not shutil.which("apt-get"):
        raise HostError(f"qemu-system-{machine} is not installed", how_to_install(machine))
    with cache.locked("qemu"), cache.built_aside(_unpacked_place(machine)) as place:
        work = cache.cache() / "fetched" / "qemu"
        apt = Apt(work, DEBIAN_NAMES[default_machine()], ("perl", "perl-base", "dpkg", "debconf", "init-system-helpers"))
        apt.update()
        unpack(apt.fetch([_PACKAGES[machine]], progress), place, ("usr/share/doc", "usr/share/man", "usr/share/icons"), progress)
        shutil.rmtree(work, ignore_errors=True)


def _by_own_loader(place: Path, name: str) -> tuple[str, ...]:
    """How to run a program of an unpacked tree: by its own loader, with its own libraries.  ld.so(8)"""
    from scratchlab.vm.tree import loader

    libraries = [*place.glob("usr/lib/*-linux-gnu"), *place.glob("usr/lib/*-linux-gnu/pulseaudio")]
    firmware = [word for name_ in ("qemu", "seabios") for word in ("-L", str(place / "usr/share" / name_))]
    return (str(loader(place)), "--library-path", ":".join(map(str, libraries)), str(place / "usr/bin" / name), *firmware)
