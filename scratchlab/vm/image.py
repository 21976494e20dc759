"""An image: a disk with a small Debian, its kernel, and the first file system that finds the disk.

It is built by an ordinary user from the package sources of this machine, needs no privilege and no container, and is the
same on every machine; `vm export` writes it to a file, and `vm import` takes it in where it could not be built.
"""

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scratchlab.errors import HostError
from scratchlab.vm import cache, cpio, tree, wheels
from scratchlab.vm.packages import Apt, unpack
from scratchlab.vm.progress import Progress, silent
from scratchlab.vm.recipe import BOOT_MODULES, DEVICE_MODULES, Recipe, default_machine, release

_DISK_SIZE = 2 << 30  # what the guest sees; it takes space on the host only where something is written
_KEPT_UNUSED = 7 * 24 * 3600.0  # seconds
WORK_SIZE = 1_500_000_000  # what a build needs for a while


@dataclass(frozen=True)
class Image:
    """A complete image in the cache."""

    directory: Path
    facts: dict[str, Any]

    @classmethod
    def read(cls, directory: Path) -> "Image":
        """The image in this directory."""
        return cls(directory, json.loads((directory / "image.json").read_text()))

    @property
    def name(self) -> str:
        """Its recipe's hash."""
        return self.directory.name

    @property
    def machine(self) -> str:
        """The kind of machine that it is for."""
        return str(self.facts["machine"])

    @property
    def kernel(self) -> Path:
        """The kernel, as QEMU starts it."""
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The first file system; what a boot adds follows it."""
        return self.directory / "initrd"

    @property
    def disk(self) -> Path:
        """The ext4 file system, never written to."""
        return self.directory / "disk"


def images() -> Path:
    """The directory of all images."""
    return cache.cache() / "images"


def recipe_here(machine: str = "") -> Recipe:
    """The recipe for this machine's release of its distribution."""
    return Recipe(machine or default_machine(), release())


def find(machine: str = "") -> Image | None:
    """The image of today's recipe; or one that was imported, where none can be built. None if there is neither."""
    recipe = recipe_here(machine)
    if found := whole(images() / recipe.hash):
        return found
    fitting = [found for found in _all() if found.facts.get("imported") and (found.machine == recipe.machine or not machine)]
    # Of another kind only where there is none of ours: it would be emulated.
    return min(fitting, key=lambda found: (found.machine != recipe.machine, found.name), default=None)


def whole(directory: Path) -> Image | None:
    """The image in this directory, or None if something of it is missing."""
    try:
        found = Image.read(directory)
    except (OSError, ValueError):
        return None
    return found if all(path.exists() for path in (found.kernel, found.initrd, found.disk)) else None


def _all() -> list[Image]:
    return [found for directory in images().glob("[!.]*") if (found := whole(directory))]


def have(machine: str = "", progress: Progress = silent) -> Image:
    """The image, built now if there is none yet."""
    if found := find(machine):
        return found
    with cache.locked("build"):
        # Another program may have built it while we waited.
        return find(machine) or _build(recipe_here(machine), progress)


def rebuild(machine: str = "", progress: Progress = silent) -> Image:
    """The image, built again. The one that there is stays until then."""
    with cache.locked("build"):
        return _build(recipe_here(machine), progress)


def _build(recipe: Recipe, progress: Progress) -> Image:
    place = images() / recipe.hash
    work = cache.cache() / "fetched" / recipe.hash  # stays when the build is interrupted: the next one need not fetch that again
    cache.remove_unfinished(images())
    cache.need_space(cache.cache(), WORK_SIZE, "building an image")
    try:
        with cache.built_aside(place, replaces=place.is_dir()) as aside:
            # In a directory that is this build's alone: a pip or tar of one that was killed may write for a moment longer.
            grown = aside / "tree"
            kernel = _fill(grown, work, recipe, progress)
            _write(aside, grown, kernel, recipe, progress)
            shutil.rmtree(grown, ignore_errors=True)
    except OSError as error:
        raise HostError(f"building an image failed: {error}", "is the disk full? see df") from None
    shutil.rmtree(work, ignore_errors=True)
    _forget_unused(recipe.machine)
    return Image.read(place)


def _forget_unused(machine: str) -> None:
    """Remove images of older recipes that nobody has started a machine from for a week. What was imported stays."""
    for old in _all():
        unused = (old.directory / "image.json").stat().st_mtime < time.time() - _KEPT_UNUSED
        if unused and old.machine == machine and not old.facts.get("imported"):
            cache.remove(old.directory)


def _fill(grown: Path, work: Path, recipe: Recipe, progress: Progress) -> Path:
    """Fetch and unpack all that the recipe names. Gives the kernel's file."""
    apt = Apt(work, recipe.debian, recipe.pretended)
    progress("package lists", 0, 0)
    apt.update()
    kernel_package = apt.first_known([name.format(debian=recipe.debian) for name in recipe.kernels])
    archives = apt.fetch([kernel_package, *recipe.packages], progress)
    grown.mkdir()
    unpack(archives, grown, recipe.left_out, progress)
    progress("python packages", 0, 0)
    wheels.install(recipe.wheels, grown / "opt/py", recipe.machine, tree.python_of(grown))
    return next(iter(sorted((grown / "boot").glob("vmlinuz-*"))))


def _write(place: Path, grown: Path, kernel: Path, recipe: Recipe, progress: Progress) -> None:
    """Make the image's files of the unpacked tree."""
    progress("kernel modules", 0, 0)
    kernel.rename(place / "vmlinuz")
    shutil.rmtree(grown / "boot")
    tree.lay(grown, recipe)
    tree.prune(grown, recipe.left_out)
    tree.keep_modules(grown, recipe.modules)
    progress("byte code", 0, 0)
    _compile(grown)
    progress("disk", 0, 0)
    (place / "initrd").write_bytes(_initrd(grown))
    _make_disk(grown, place / "disk")
    facts = {"machine": recipe.machine, "suite": recipe.suite, "python": tree.python_of(grown),
             "kernel": tree.modules_directory(grown).name, "recipe": recipe.hash,
             "built": datetime.now(UTC).isoformat(timespec="seconds")}  # fmt: skip
    (place / "image.json").write_text(json.dumps(facts, indent=1) + "\n")


def _compile(grown: Path) -> None:
    """Compile all Python in the tree once, here, where it is quick; a guest of another kind compiles what it imports."""
    if not tree.runs_here(grown):
        return
    version = tree.python_of(grown)
    words = ["-S", "-m", "compileall", "-q", "-j2", "--invalidation-mode", "unchecked-hash", "-s", str(grown), "-p", "/"]
    environment = {"PYTHONHOME": str(grown / "usr"), "PATH": "/usr/bin:/bin"}
    # Its status is not asked for: a package may hold a file that is no Python of this version, on purpose.
    subprocess.run(
        [*tree.own_python(grown), *words, str(grown / f"usr/lib/python{version}"), str(grown / "opt/py")],
        env=environment, capture_output=True, check=False,
    )  # fmt: skip


_INIT = """#!/bin/busybox sh
# Finds the disk, puts on it what this start brought along, and goes on there.
busybox mount -t devtmpfs dev /dev
{insmod}
busybox mount -t ext4 -o noatime,noinit_itable /dev/vda /disk
busybox cp -a /brought/. /disk/
busybox mount --move /dev /disk/dev
exec busybox switch_root /disk /opt/scratchlab/scratchlab/vm/guest/init.sh
"""


def _initrd(grown: Path) -> bytes:
    modules = tree.boot_modules(grown, BOOT_MODULES)
    later = tree.boot_modules(grown, DEVICE_MODULES)
    script = _INIT.format(insmod="\n".join(f"busybox insmod /modules/{path.name}" for path in modules))
    entries = [cpio.directory(name) for name in ("bin", "dev", "disk", "modules", "brought", "brought/etc")]
    entries += [cpio.CONSOLE, cpio.file("init", script.encode(), 0o755)]
    entries += [cpio.file("bin/busybox", (grown / "usr/bin/busybox").read_bytes(), 0o755)]
    entries += [cpio.file(f"modules/{path.name}", path.read_bytes()) for path in modules]
    wanted = "".join(f"/{path.relative_to(grown)}\n" for path in later if path not in modules)
    return cpio.archive([*entries, cpio.file("brought/etc/modules-to-load", wanted.encode())])


def _make_disk(grown: Path, disk: Path) -> None:
    with disk.open("wb") as file:
        file.truncate(_DISK_SIZE)
    # Without a journal: a guest is thrown away, never repaired. In a user namespace of its own, files that are ours are root's.
    words = ["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-N", "65536", "-d", str(grown), str(disk)]
    if os.geteuid() == 0 or not _as_root_of_a_namespace(words):
        tree.run_tool(grown, "mke2fs", *words)


def _as_root_of_a_namespace(words: list[str]) -> bool:
    """Make the disk in a user namespace, in which we are root, and say whether that worked.

    Where it is forbidden, the files in the guest belong to our number, and the guest's first boot puts that right.
    """
    try:
        done = subprocess.run(["unshare", "--map-root-user", "/sbin/mke2fs", *words], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0
