"""Packages of the machine's own sources, fetched and unpacked by an ordinary user.  apt-get(8), dpkg-deb(1)

apt works in directories of its own, with an empty list of installed packages; so it needs no root, and changes nothing on
this machine. No script of a package runs: what those scripts would have made in a guest is little, and `tree.py` makes it.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from shutil import which

from scratchlab.errors import HostError
from scratchlab.vm.child import Child, Spawned
from scratchlab.vm.progress import Progress

_CONFIGURATION = """
Dir::State "{work}"; Dir::State::lists "{work}/lists"; Dir::State::status "{work}/status";
Dir::Cache "{work}"; Dir::Cache::archives "{work}/archives"; Dir::Etc::parts "/dev/null"; Dir::Etc::main "/dev/null";
APT::Install-Recommends "false"; APT::Architecture "{debian}"; APT::Architectures "{debian}";
Acquire::Languages "none"; Debug::NoLocking "true"; APT::Sandbox::User "";
"""

_PRETENDED = """Package: {name}
Status: install ok installed
Architecture: {debian}
Multi-Arch: foreign
Version: 9:99
Provides: linux-initramfs-tool (= 9:99)
Maintainer: nobody <nobody@localhost>
Description: not needed here

"""

_WANTED = ("apt-get", "apt-config", "dpkg-deb", "tar")


class Apt:
    """The machine's package sources, seen from a directory of our own that may be kept for the next time."""

    def __init__(self, work: Path, debian: str, pretended: Sequence[str] = ()) -> None:
        if program := missing():
            raise HostError(f"this machine has no {program}, so no image can be built on it", elsewhere())
        self.work, self.archives, self._debian = work, work / "archives", debian
        for directory in (work / "lists/partial", work / "archives/partial"):
            directory.mkdir(parents=True, exist_ok=True)
        # How this machine reaches its sources, through which proxy; and nothing else of its configuration, which may have hooks.
        acquire = _output(["apt-config", "dump"])
        kept = "\n".join(line for line in acquire.splitlines() if re.match(r"Acquire::(?!Languages)\S* ", line))
        (work / "apt.conf").write_text(kept + _CONFIGURATION.format(work=work, debian=debian))
        (work / "status").write_text("".join(_PRETENDED.format(name=name, debian=debian) for name in pretended))

    def update(self) -> None:
        """Fetch the lists of what there is, where those of a moment ago are not here any more."""
        stamp = self.work / "updated"
        if not stamp.exists() or stamp.stat().st_mtime < time.time() - 3600:
            said = self._apt("update").stderr
            # Without a network it complains, and is content.
            if not any((self.work / "lists").glob("*Packages*")):
                raise _failed("fetch the lists of packages", said)
            stamp.touch()

    def first_known(self, names: Sequence[str]) -> str:
        """The first of these packages that the sources have."""
        for name in names:
            done = subprocess.run(["apt-cache", "show", name], env=self._environment(), capture_output=True, check=False)
            if done.returncode == 0:
                return name
        raise HostError(f"the package sources of this machine have none of: {', '.join(names)}", elsewhere())

    def fetch(self, packages: Sequence[str], progress: Progress) -> list[Path]:
        """The archives of these packages and of all that they need. What was fetched before is not again."""
        words = ["install", "--yes", "--no-install-recommends", "--download-only", *packages]
        listed = self._apt("--print-uris", *words).stdout
        sizes = {name: int(size) for name, size in re.findall(r"^'\S+' (\S+\.deb) (\d+) ", listed, re.MULTILINE)}
        total = sum(sizes.values())
        # As QEMU, it ends with us: it locks nothing, and would write what the next build, of a kernel that was restarted, reads.
        apt_get = Spawned(["apt-get", "-qq", *words], env=self._environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        with apt_get.wait() as process:
            try:
                while process.poll() is None:
                    progress("packages", _sizes(self.archives, sizes), total)
                    time.sleep(0.1)
                said = process.communicate()[1].decode(errors="replace")
            finally:
                _end_session(process)
        if process.returncode:
            raise _failed("fetch packages", said)
        progress("packages", total, total)
        return sorted(self.archives.glob("*.deb"))

    def _apt(self, *words: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(["apt-get", "-qq", *words], env=self._environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise _failed(f"use apt-get {words[0]}", done.stderr)
        return done

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "APT_CONFIG": str(self.work / "apt.conf"), "LC_ALL": "C"}


def unpack(archives: Sequence[Path], tree: Path, left_out: Sequence[str], progress: Progress) -> None:
    """Unpack archives into one tree, two at a time; /bin and its like are links into /usr."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (tree / name).is_symlink():
            (tree / name).symlink_to(f"usr/{name}")
    with ThreadPoolExecutor(2) as pool:
        for number, _ in enumerate(pool.map(lambda archive: _unpack(archive, tree, left_out), archives), 1):
            progress("unpacking", number, len(archives))


def _unpack(archive: Path, tree: Path, left_out: Sequence[str]) -> None:
    excluded = [f"--exclude=./{pattern}/*" for pattern in left_out]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as source:
        done = subprocess.run(
            ["tar", "-x", "-C", tree, "--keep-directory-symlink", "--no-same-owner", "--exclude=./dev/*", *excluded],
            stdin=source.stdout, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    if done.returncode or source.returncode:
        # A download that was cut short, or a full disk: the next build fetches this one again.
        archive.unlink(missing_ok=True)
        raise HostError(f"could not unpack {archive.name}: {done.stderr.strip()[-300:] or 'it is damaged'}", "try again")


def _end_session(process: Child) -> None:
    """End apt-get with the programs that fetch for it: they would go on writing what the next build wants to read."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stderr and not process.stderr.closed:
        process.stderr.read()  # ends when the last of them has


def _sizes(archives: Path, wanted: dict[str, int]) -> int:
    return sum(size for name, size in wanted.items() if (archives / name).exists()) + sum(_partial(archives / "partial"))


def _partial(directory: Path) -> Iterator[int]:
    for path in directory.glob("*"):
        try:
            yield path.stat().st_size
        except FileNotFoundError:  # complete, and moved, since the listing
            continue


def _output(words: Sequence[str]) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def _failed(what: str, said: str) -> HostError:
    lines = [line for line in said.splitlines() if line.startswith(("E:", "W:"))] or said.splitlines() or ["it did not say why"]
    if "No space left" in said or "enough free space" in said:
        return HostError(f"could not {what}: the disk is full", "an image takes 1.5 GB while it is built; see XDG_CACHE_HOME")
    return HostError(f"could not {what}: {lines[0]}", f"this needs the network once; or {elsewhere()}")


def missing() -> str:
    """The first program that a build needs and this machine lacks, or ''."""
    return next((program for program in _WANTED if not which(program)), "")


def elsewhere() -> str:
    """What to do where an image cannot be built."""
    return (
        "build it on a Debian or Ubuntu (a container, WSL or a virtual machine will do) with `scratchlab vm build`, write it to "
        "a file with `scratchlab vm export FILE`, and take it in here with `scratchlab vm import FILE`"
    )
