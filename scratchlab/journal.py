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
import fcntl
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from scratchlab.errors import HostError, InputError, SandboxError, ScratchlabError
from scratchlab.owner import boot_id as boot_id
from scratchlab.owner import start_time as start_time
from scratchlab.shared import locked, run_directory

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
    "lab": "scratchlab.trials.lab:remove_directory",
    "folder": "scratchlab.lessons.folder:remove",
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
    def claim(cls, name: str, exact: bool = False, owner: int = 0) -> "Journal":
        """Open a new journal called `name`, or `name-2` … where that is taken, or with `exact` raise HostError.

        It is of use for as long as the process `owner` lives, by default this one.
        """
        check_name(name)
        owner = owner or os.getpid()
        signature = _line(owner=owner, started=start_time(owner), boot=boot_id())
        # Made and signed under the lock: who holds it and finds one without an owner knows that its maker is dead.
        with locked():
            journal = cls(_new_file(name, exact))
            journal._append(signature)
        return journal

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

        Done twice, or by two programs at once, it is done once.
        """
        for thing in self._kept:
            thing.close()
        self._kept.clear()
        with _held(self.path) as undone:
            if undone:
                self._take_back(undone.undos)

    def _take_back(self, undos: list[dict[str, Any]]) -> None:
        failed = [trouble for entry in reversed(undos) if (trouble := _take_back(entry))]
        if failed:
            # Nobody's from now on: else `clean` would leave it alone for as long as we live.
            self._append(_line(owner=0, started=0, boot=boot_id()))
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

    def __init__(self, name: str, text: bytes) -> None:
        self.name = name
        self.owner: dict[str, Any] = {}
        self.undos: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}
        for line in text.splitlines():
            # A machine that lost power may leave half a line: the thing was not made yet. Nobody nests what we write deeply.
            with suppress(ValueError, RecursionError):
                self._take(json.loads(line))

    def _take(self, entry: Any) -> None:
        match entry:
            case {"undo": str()}:
                self.undos.append(entry)
            case {"fact": dict(facts)}:
                self.facts.update(facts)
            case {"owner": int(), "started": int(), "boot": str()}:
                self.owner = entry

    @property
    def alive(self) -> bool:
        """Whether the process that made this journal still lives: same pid, same start time, same boot."""
        owner = self.owner
        if not owner or not owner["started"]:
            return False
        return bool(owner["boot"] == boot_id() and start_time(owner["owner"]) == owner["started"])


def _new_file(name: str, exact: bool) -> Path:
    """Make an empty journal, under the first name that is free."""
    for number in range(1, 10_000):
        path = run_directory() / (f"{name}.journal" if number == 1 else f"{name}-{number}.journal")
        try:
            # O_EXCL: it is made here, or it is another's.  open(2)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            if exact:
                raise HostError(f"the name {name!r} is taken", "see `scratchlab ps`, or run `scratchlab clean`") from None
            continue
        return path
    raise HostError(f"10,000 sandboxes are called {name!r}", "run `scratchlab clean`")


def read(path: Path) -> Entries:
    """What a journal says."""
    return Entries(path.stem, path.read_bytes())


@contextmanager
def _held(path: Path) -> Iterator[Entries | None]:
    """What a journal says, while nobody else takes back what it lists; None if somebody has.  flock(2)"""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with locked():  # nobody is between making it and signing it
            text = file.read()
        # No name any more: it was closed while we waited. What has that name now is another sandbox's.
        yield Entries(path.stem, text) if os.fstat(file.fileno()).st_nlink else None


def journals() -> list[Entries]:
    """All journals of this user on this machine, by name."""
    found = []
    for path in sorted(run_directory().glob("*.journal")):
        with suppress(OSError):  # closed between the listing and the reading; or no journal, which `clean` tells
            found.append(read(path))
    return found


def clean() -> list[str]:
    """Take back what dead owners left; give the names of their sandboxes. Raises SandboxError at the end for what stays."""
    cleaned, failed = [], []
    for path in sorted(run_directory().glob("*.journal")):
        try:
            if _clean_one(path):
                cleaned.append(path.stem)
        except SandboxError as error:
            failed.append(error.message)
        except OSError as error:
            failed.append(f"{path} is no journal of ours: {error.strerror}")
    if failed:
        raise SandboxError("\n".join(failed), "see what holds them, and run `scratchlab clean` again")
    return cleaned


def _clean_one(path: Path) -> bool:
    """Take back what one journal lists if its owner is dead, and say whether it was."""
    with suppress(FileNotFoundError):
        if read(path).alive:  # most are; so most need no lock
            return False
    with _held(path) as found:
        if found is None or found.alive:
            return False
        Journal(path)._take_back(found.undos)
    return True


def _take_back(entry: dict[str, Any]) -> str:
    """Run one undo. Gives what went wrong, or ''."""
    how = {str(key): value for key, value in entry.items() if key != "undo"}
    if entry["undo"] not in UNDO:
        return f"{entry['undo']} {how}: written by another version of Scratchlab"
    undo = named(UNDO[entry["undo"]])
    try:
        undo(**how)
    except (OSError, ScratchlabError) as error:
        return f"{entry['undo']} {how}: {error}"
    except (TypeError, ValueError, AttributeError, OverflowError) as error:  # of arguments that no undo of ours takes
        return f"{entry['undo']} {how}: damaged: {error}"
    return ""


def named(place: str) -> Callable[..., Any]:
    """The function that `module:name` names, imported now: naming it cost nothing."""
    module, name = place.split(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


# -- small undos that have no better home -----------------------------------------------------------------------------


def end_process(pid: int, started: int) -> None:
    """Kill a process if it is still the one that started then."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        # EINVAL, on Linux 6.1: the number is in use still, but as that of a session whose leader has died.
        if error.errno in (errno.ESRCH, errno.EINVAL):
            return
        raise
    try:
        # The pidfd is opened first: what it names cannot be replaced by another process with the same number.
        if start_time(pid) == started:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)


def remove_file(path: str) -> None:
    """Remove one file."""
    Path(path).unlink(missing_ok=True)


# -- facts ------------------------------------------------------------------------------------------------------------


def check_name(name: str) -> None:
    """Refuse a sandbox name that could not be a file name, a control group and an nft table. Raises InputError."""
    if not (isinstance(name, str) and re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,39}", name)):
        raise InputError(
            f"{name!r} cannot name a sandbox", "use up to 40 of: letters, digits, '-', '_', '.'; a letter or digit first"
        )


def _line(**entry: Any) -> bytes:
    return json.dumps(entry).encode() + b"\n"
