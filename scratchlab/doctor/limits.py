"""Control groups: a limit of each kind, written below our own node and read back.  cgroups(7)"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scratchlab import linux
from scratchlab.doctor.attempt import Attempt, ordinary
from scratchlab.errors import HostError, ScratchlabError
from scratchlab.journal import Journal
from scratchlab.linux import cgroupfs
from scratchlab.linux.cgroup_fork import fork_into

_NO_GROUPS = "use sudo, or log in by systemd, which delegates a subtree; `scratchlab run` works without, and says so"


@contextmanager
def _group(controller: str | None) -> Iterator[str]:
    """A control group of our own, written down first: it is taken back even if we are killed."""
    journal = Journal.claim("doctor")
    try:
        journal.will("cgroup", path=cgroupfs.path_of(controller, journal.name))
        yield cgroupfs.create(controller, journal.name)
    finally:
        journal.close()


def _limit(controller: str, knob: str, value: Callable[[], str]) -> Callable[[], None]:
    def act() -> None:
        with _group(controller) as group:
            wanted = value()
            cgroupfs.limit(group, knob, wanted)
            if (found := cgroupfs.show(group, knob)) != wanted:
                raise ScratchlabError(f"{knob} says {found!r} after {wanted!r} was written")

    return act


def _some_disk() -> str:
    """A limit for any whole disk."""
    for disk in sorted(Path("/sys/block").iterdir()) if os.path.isdir("/sys/block") else []:
        if (disk / "dev").exists():
            return f"{(disk / 'dev').read_text().strip()} rbps=max wbps=1048576 riops=max wiops=max"
    raise HostError("this machine has no disk whose speed could be limited", "lsblk")


def _birth() -> None:
    with _group(None) as group:
        pid = fork_into(group)
        if pid == 0:
            os._exit(0 if os.getpid() in cgroupfs.procs(group) else 1)
        if os.waitpid(pid, 0)[1]:
            raise ScratchlabError("a child was not born in its control group")


def _delegation() -> None:
    """A subtree of version 2 that belongs to another user, who makes a group in it and moves a process there."""
    if cgroupfs.layout().tracking.version != 2:
        raise HostError("version 2 of control groups is not mounted here", "boot with systemd.unified_cgroup_hierarchy=1")
    with _group(None) as group:
        for path in (group, f"{group}/cgroup.procs", f"{group}/cgroup.subtree_control"):
            os.chown(path, 65534, 65534)
        pid = linux.fork()
        if pid == 0:
            cgroupfs.enter(group, os.getpid())
            ordinary()
            linux.mkdir(f"{group}/own")
            cgroupfs.enter(f"{group}/own", os.getpid())
            os._exit(0)
        if os.waitpid(pid, 0)[1]:
            raise ScratchlabError("an ordinary user cannot move a process within a subtree of its own")


def _all_in_version_2() -> None:
    lacking = [name for name in ("cpu", "memory", "pids", "io") if cgroupfs.layout().of(name).version != 2]
    if lacking:
        raise HostError(f"{', '.join(lacking)} are in version 1's trees", "cat /proc/cgroups; findmnt -t cgroup,cgroup2")


def _pressure() -> None:
    for path in ("/proc/pressure/cpu", "/proc/pressure/memory", "/proc/pressure/io"):
        with open(path) as file:
            file.read()


ATTEMPTS = [
    Attempt("limit on CPU time", _limit("cpu", "cpu.max", lambda: "20000 100000"), ("cpu",), (11, 12), _NO_GROUPS),
    Attempt("limit on memory", _limit("memory", "memory.max", lambda: str(64 << 20)), ("memory",), (11, 12), _NO_GROUPS),
    Attempt("limit on processes", _limit("pids", "pids.max", lambda: "64"), ("pids",), (11,), _NO_GROUPS),
    Attempt("limit on disks", _limit("io", "io.max", _some_disk), ("io",), (11, 12), _NO_GROUPS),
    Attempt("birth in a control group", _birth, ("cpu", "memory", "pids", "join_groups"), (11, 17), _NO_GROUPS),
    Attempt(
        "delegated control groups", _delegation, ("cpu", "memory", "pids"), (11,),
        "only limits of ordinary users need it", needed=False,
    ),
    Attempt(
        "all controllers in version 2", _all_in_version_2, ("cpu", "memory", "pids", "io"), (11, 12),
        "or leave it so: stages and lessons work with version 1 too, and lessons 11 and 12 say where they differ", needed=False,
    ),
    Attempt("pressure (PSI)", _pressure, ("cpu", "memory", "io"), (12,), "boot with psi=1; lesson 12 shows it", needed=False),
]  # fmt: skip
