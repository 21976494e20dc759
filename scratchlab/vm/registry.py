"""The machines that run, found by name from any program of this user.

    RUN/NAME.json    {"owner": 4711, "started": 123, "boot": "…",       the program that it ends with
                      "qemu": 4712, "qemu_started": 124,                the process that it is
                      "port": 40001, "key": "…",                        how to enter it (link.py)
                      "about": "web server", "notebook": "07.ipynb"}    for people, and for `shell --notebook`

Only this user can read it. A file is made before its QEMU, and removed after it. If its owner was killed in between, the next
look ends that QEMU, which would otherwise be nobody's.
"""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from scratchlab.errors import HostError, InputError
from scratchlab.owner import boot_id, start_time
from scratchlab.vm import cache
from scratchlab.vm.link import Guest

_PATIENCE = 20.0
_ASIDE = ".new"
_WRITTEN_SOON = 10.0  # seconds in which a file of a new machine says something

# What an entry says. One where one of these is something else is damaged, or not ours.
_KINDS = {"owner": int, "started": int, "boot": str, "qemu": int, "qemu_started": int, "port": int, "key": str, "about": str,
          "notebook": str, "settings": dict | None}  # fmt: skip


class Entry(NamedTuple):
    """One machine's file."""

    path: Path
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """The machine's name."""
        return self.path.stem

    @property
    def owned(self) -> bool:
        """Whether the program that it belongs to lives."""
        facts = self.facts
        return facts.get("boot") == boot_id() and start_time(facts.get("owner", 0)) == facts.get("started") != 0

    @property
    def running(self) -> bool:
        """Whether it can be entered."""
        return self.owned and bool(self.facts.get("port"))

    def guest(self) -> Guest:
        """The way into it."""
        return Guest(self.facts["port"], self.facts["key"], self.name)


class Registration:
    """A machine's own entry. It ends when nobody holds this any more: Ctrl-C may come at any time."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self._path, self._facts = path, facts
        self.name = path.stem
        self._there = True
        self.add()

    def __del__(self) -> None:
        if self._facts["owner"] == os.getpid():  # not in a copy of us by fork(2)
            self.end()

    def add(self, **facts: Any) -> None:
        """Write down more, all at once: whoever reads meanwhile sees what was before."""
        self._facts.update(facts)
        aside = self._path.with_suffix(_ASIDE)
        aside.touch(mode=0o600)
        aside.write_text(json.dumps(self._facts) + "\n")
        aside.replace(self._path)

    def end(self) -> None:
        """Remove it, once: its name may be another machine's afterwards."""
        if self._there:
            self._path.with_suffix(_ASIDE).unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)
        self._there = False


def directory() -> Path:
    """The directory of these files."""
    path = cache.cache() / "running"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def register(name: str = "", **about: Any) -> Registration:
    """Take a name for a new machine: the one asked for, or a free one. Raises InputError, HostError."""
    clean()
    for candidate in [check_name(name)] if name else _names(str(about.get("notebook", ""))):
        path = directory() / f"{candidate}.json"
        facts = {"owner": os.getpid(), "started": start_time(os.getpid()), "boot": boot_id(), **about}
        try:
            # O_EXCL is the claim: of two programs, one makes the file.  open(2)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(facts, file)
        except FileExistsError:
            continue
        return Registration(path, facts)
    raise HostError(f"a machine called {name!r} runs already", f"`scratchlab vm shell {name}` enters it")


def _names(notebook: str) -> Iterator[str]:
    """07.ipynb gives 07, 07-2, 07-3 …; no notebook gives machine-1, machine-2 …"""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", notebook.removesuffix(".ipynb")).strip("-_.")[:32]
    if stem:
        yield stem
    yield from (f"{stem or 'machine'}-{number}" for number in range(2 if stem else 1, 10_000))


def check_name(name: str) -> str:
    """Refuse a name that could not be a file's. Raises InputError."""
    if not (0 < len(name) <= 40 and name[0].isalnum() and all(c.isascii() and (c.isalnum() or c in "-_.") for c in name)):
        raise InputError(f"{name!r} cannot name a machine", "use up to 40 letters, digits, '-', '_', '.'")
    return name


def entries() -> list[Entry]:
    """All machines of this user, those that still start included."""
    clean()
    return _read_all()


def find(name: str) -> Entry:
    """The machine of this name. Raises HostError if none runs."""
    found = {entry.name: entry for entry in entries() if entry.running}
    if name not in found:
        raise HostError(f"no machine {name!r} runs (running: {', '.join(found) or 'none'})", f"scratchlab vm start {name}")
    return found[name]


def of_notebook(word: str) -> Entry:
    """The machine of the running notebook that has this word in its name. Raises HostError unless there is one."""
    running = [entry for entry in entries() if entry.running and entry.facts.get("notebook")]
    found = [entry for entry in running if word in entry.facts["notebook"]]
    if len(found) != 1:
        names = ", ".join(entry.facts["notebook"] for entry in found or running) or "none"
        raise HostError(
            f"{len(found) or 'no'} running notebooks have {word!r} in their name (running: {names})", "say more of its name"
        )
    return found[0]


def stop(entry: Entry) -> None:
    """End a machine, and wait until its owner has noticed. One that is just starting may do so first."""
    deadline = time.monotonic() + _PATIENCE
    while found := [now for now in _read_all() if (now.path, now.facts.get("owner")) == (entry.path, entry.facts.get("owner"))]:
        if found[0].running:
            _end_qemu(found[0], signal.SIGTERM)
        if time.monotonic() > deadline:
            raise HostError(f"the machine {entry.name} does not end", f"its owner is process {entry.facts.get('owner')}")
        time.sleep(0.02)
        clean()


def clean() -> list[str]:
    """End what belonged to programs that were killed, and remove what is no entry. Gives the names of those machines."""
    dead = [entry for entry in _read_all() if not entry.owned]
    for entry in dead:
        _end_qemu(entry, getattr(signal, "SIGKILL", signal.SIGTERM))
        entry.path.unlink(missing_ok=True)
    for path in directory().glob(f"*{_ASIDE}"):
        if not path.with_suffix(".json").exists():
            path.unlink(missing_ok=True)  # its program was killed while it wrote
    return [entry.name for entry in dead]


def _end_qemu(entry: Entry, number: int) -> None:
    """Signal this machine's QEMU, if it is still the one that was started then."""
    facts = entry.facts
    pid = facts.get("qemu", 0)
    if pid > 0 and facts.get("boot") == boot_id() and start_time(pid) == facts.get("qemu_started") != 0:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _read_all() -> list[Entry]:
    found = []
    for path in sorted(directory().glob("*.json")):
        with suppress(FileNotFoundError):  # it ended since the listing
            if path.is_file():  # anything else is not ours
                found.append(Entry(path, _facts(path)))
    return found


def _facts(path: Path) -> dict[str, Any]:
    """What a file says; nothing, if it is damaged. One that is being written for the first time is not, and is not old either."""
    age = time.time() - path.stat().st_mtime
    try:
        facts = json.loads(path.read_text())
    except FileNotFoundError:
        raise
    except (OSError, ValueError):
        facts = None
    if isinstance(facts, dict) and all(isinstance(facts[name], _KINDS[name]) for name in _KINDS.keys() & facts.keys()):
        return facts
    me = os.getpid()
    return {"owner": me, "started": start_time(me), "boot": boot_id()} if 0 <= age < _WRITTEN_SOON else {}
