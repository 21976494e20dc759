"""The journal: what the host did for one sandbox, written down before it is done.

    RUN/<name>.journal, one JSON object a line:
        {"owner": 4711, "started": 123456, "boot": "…"}     who made it; dead if no such process started then
        {"undo": "cgroup", "path": "/sys/fs/cgroup/pids/scratchlab/web"}
        {"fact": {"pid": 4720}}                             for `scratchlab ps` and `exec`

A line is one write(2) to a file that is opened for append, so it survives a SIGKILL of the writer at any moment. Each undo
therefore runs for things that were made, half-made, or never made, and must not mind; and it must be sure that what it
removes is ours, so lines carry what proves it (a MAC address, a path below our own node), never a pattern.
"""

import errno
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from scratchlab.errors import HostError, InputError, SandboxError, ScratchlabError
from scratchlab.shared import flocked, run_directory

# All that the host ever does for a sandbox, and who takes it back. Imported when needed: netlink alone costs 25 ms.
UNDO = {
    "process": "scratchlab.journal:end_process",
    "cgroup": "scratchlab.linux.cgroupfs:remove",
    "link": "scratchlab.linux.netlink:remove_link",
    "nft_table": "scratchlab.linux.nftables:remove_table",
    "bridge": "scratchlab.shared:release_bridge",
    "claim": "scratchlab.shared:release_claim",
    "sysctl": "scratchlab.shared:release_sysctl",
    "mount_point": "scratchlab.shared:release_mount_point",
    "file": "scratchlab.journal:remove_file",
}


class Closable(Protocol):
    """Anything with close(): a socket that keeps a port reserved."""

    def close(self) -> None:
        """Let go."""


class Journal:
    """One sandbox's journal; `name` is unique on this machine for as long as it is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem
        self._kept: list[Closable] = []

    @classmethod
    def claim(cls, name: str, exact: bool = False) -> "Journal":
        """Open a new journal called `name`, or `name-2` … where that is taken, or with `exact` raise HostError."""
        check_name(name)
        for number in range(1, 10_000):
            path = run_directory() / (f"{name}.journal" if number == 1 else f"{name}-{number}.journal")
            try:
                # O_EXCL is the claim: of two processes, one makes the file.  open(2)
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                if exact:
                    raise HostError(f"the name {name!r} is taken", "see `scratchlab ps`, or run `scratchlab clean`") from None
                continue
            os.close(fd)
            journal = cls(path)
            journal._append(_line(owner=os.getpid(), started=start_time(os.getpid()), boot=boot_id()))
            return journal
        raise HostError(f"10,000 sandboxes are called {name!r}", "run `scratchlab clean`")

    def will(self, undo: str, **how: Any) -> None:
        """Write down how to take back what is about to be made."""
        assert undo in UNDO, undo
        self._append(_line(undo=undo, **how))

    def fact(self, **facts: Any) -> None:
        """Write down what `scratchlab ps` and `exec` want to know."""
        self._append(_line(fact=facts))

    def keep(self, thing: Closable) -> None:
        """Hold something that the kernel frees when we die, until this journal closes."""
        self._kept.append(thing)

    def close(self) -> None:
        """Take everything back, last thing first. Raises SandboxError for what could not be; the rest is done all the same.

        Done twice, it does nothing more.
        """
        for thing in self._kept:
            thing.close()
        self._kept.clear()
        try:
            undos = read(self.path).undos
        except FileNotFoundError:
            return
        failed = [trouble for entry in reversed(undos) if (trouble := _take_back(entry))]
        if failed:
            raise SandboxError(f"sandbox {self.name}: could not take back: {'; '.join(failed)}", "`scratchlab clean` tries again")
        self.path.unlink(missing_ok=True)

    def _append(self, line: bytes) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            if (written := os.write(fd, line)) != len(line):
                # The file system is full. Half a line would make the next one unreadable, too.
                os.ftruncate(fd, os.fstat(fd).st_size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        finally:
            os.close(fd)


class Entries:
    """A journal as read from disk: the owner, the undos in order, and the facts."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.owner: dict[str, Any] = {}
        self.undos: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}
        for line in path.read_text().splitlines():
            with suppress(ValueError):  # a machine that lost power may leave half a line: the thing was not made yet
                self._take(json.loads(line))

    def _take(self, entry: dict[str, Any]) -> None:
        if "undo" in entry:
            self.undos.append(entry)
        elif "fact" in entry:
            self.facts.update(entry["fact"])
        else:
            self.owner = entry

    @property
    def alive(self) -> bool:
        """Whether the process that made this journal still lives: same pid, same start time, same boot."""
        owner = self.owner
        if not owner:  # being written at this moment, or by a process that died in the first microsecond
            return False
        return bool(owner["boot"] == boot_id() and start_time(owner["owner"]) == owner["started"])


def read(path: Path) -> Entries:
    """What a journal says."""
    return Entries(path)


def journals() -> list[Entries]:
    """All journals of this user on this machine, by name."""
    found = []
    for path in sorted(run_directory().glob("*.journal")):
        with suppress(FileNotFoundError):  # closed between the listing and the reading
            found.append(read(path))
    return found


def clean() -> list[str]:
    """Take back what dead owners left; give the names of their sandboxes. Raises SandboxError at the end for what stays."""
    cleaned, failed = [], []
    for path in sorted(run_directory().glob("*.journal")):
        if not _is_orphan(path):
            continue
        with flocked(run_directory()):
            # Look again: another cleaner may have been quicker, and a new sandbox may have the name by now.
            if not _is_orphan(path):
                continue
            try:
                Journal(path).close()
                cleaned.append(path.stem)
            except SandboxError as error:
                failed.append(error.message)
    if failed:
        raise SandboxError("\n".join(failed), "see what holds them, and run `scratchlab clean` again")
    return cleaned


def _is_orphan(path: Path) -> bool:
    """Whether the owner of a journal is dead."""
    try:
        entries = read(path)
        # An empty journal is from a process that is about to write its name, or that died before: after a while, the latter.
        return not entries.alive if entries.owner else path.stat().st_mtime < time.time() - 10
    except FileNotFoundError:
        return False


def _take_back(entry: dict[str, Any]) -> str:
    """Run one undo. Gives what went wrong, or ''."""
    how = {key: value for key, value in entry.items() if key != "undo"}
    if entry["undo"] not in UNDO:
        return f"{entry['undo']} {how}: written by another version of Scratchlab"
    module, function = UNDO[entry["undo"]].split(":")
    undo: Callable[..., None] = getattr(import_module(module), function)
    try:
        undo(**how)
    except (OSError, ScratchlabError) as error:
        return f"{entry['undo']} {how}: {error}"
    return ""


# -- small undos that have no better home -----------------------------------------------------------------------------


def end_process(pid: int, started: int) -> None:
    """Kill a process if it is still the one that started then."""
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            # The pidfd is opened first: what it names cannot be replaced by another process with the same number.
            if start_time(pid) == started:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)


def remove_file(path: str) -> None:
    """Remove one file."""
    Path(path).unlink(missing_ok=True)


# -- facts ------------------------------------------------------------------------------------------------------------


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot: field 22. 0 if there is none, or only a zombie.  proc_pid_stat(5)"""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # The second field is the program's name in brackets, which may hold brackets and spaces itself.
    fields = stat.rpartition(")")[2].split()
    # A zombie does nothing any more: its parent has merely not asked yet how it ended.
    return 0 if fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    """A name for this boot of the machine.  random(4)"""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def check_name(name: str) -> None:
    """Refuse a sandbox name that could not be a file name, a control group and an nft table. Raises InputError."""
    if not (0 < len(name) <= 40 and name[0].isalnum() and all(c.isascii() and (c.isalnum() or c in "-_.") for c in name)):
        raise InputError(
            f"{name!r} cannot name a sandbox", "use up to 40 of: letters, digits, '-', '_', '.'; a letter or digit first"
        )


def _line(**entry: Any) -> bytes:
    return json.dumps(entry).encode() + b"\n"
