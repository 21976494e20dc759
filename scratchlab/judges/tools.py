"""What a judge brings along: a Python, capsh and the probe, in a directory that any container can be given at /judge.

The container's own root filesystem need hold nothing. The loader is named in the command line, with the directories to find
libraries in, because the one that the programs name is not where they expect it.  ld.so(8)
"""

import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from scratchlab.errors import HostError
from scratchlab.judges import calls, probe
from scratchlab.rootfs import create

PLACE = "/judge"  # in the container
PROGRAMS = {"python3": "python3", "capsh": "libcap2-bin", "runc": "runc"}  # and the Debian package that each is in
ENVIRONMENT = {"PYTHONHOME": f"{PLACE}/usr", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

# Devices of the machine that no container should be able to open: its first disk, and its memory.
MEMORY = ("char", 1, 1)


class Tools(NamedTuple):
    """The directory on the host, and what to run and to ask inside."""

    place: Path
    argv: tuple[str, ...]
    question: str


def require_programs() -> None:
    """Raise HostError for a judge that is not installed."""
    if missing := [f"{name} ({package})" for name, package in PROGRAMS.items() if not shutil.which(name)]:
        packages = " ".join(package for name, package in PROGRAMS.items() if not shutil.which(name))
        raise HostError(f"a judge is not here: {', '.join(missing)}", f"apt-get install {packages}")


def gather(place: Path) -> Tools:
    """Copy the host's programs and the probe to `place`."""
    create(place, "host", ["python3", "capsh"])
    shutil.copy(probe.__file__, place / "probe.py")
    asked = {
        "calls": calls.to_try(),
        "nodes": {"the disk": _disk(), "the memory": MEMORY},
        "capsh": _argv(place, "capsh", "--print"),
    }
    return Tools(place, tuple(_argv(place, "python3", "-S", f"{PLACE}/probe.py")), json.dumps(asked))


def _argv(place: Path, name: str, *words: str) -> list[str]:
    found = [path for path in place.glob("**/*") if path.is_file() and not path.is_symlink()]
    loader = next(path for path in found if path.name.startswith("ld-") and ".so" in path.name)
    libraries = {_inside(place, path.parent) for path in found if ".so" in path.name}
    program = next(path for path in place.glob(f"usr/*bin/{name}"))
    return [_inside(place, loader), "--library-path", ":".join(sorted(libraries)), _inside(place, program), *words]


def _inside(place: Path, path: Path) -> str:
    return f"{PLACE}/{path.relative_to(place)}"


def _disk() -> tuple[str, int, int]:
    """The disk that the host's root filesystem is on, or would be."""
    device = os.stat("/").st_dev
    return "block", os.major(device), os.minor(device)
