"""Landlock: files and ports that a process gives up by itself. It takes no root, and no policy of the machine.  landlock(7)"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import or_
from typing import NamedTuple

from scratchlab import linux
from scratchlab.errors import InputError, KernelError, StageError
from scratchlab.linux import LandlockFs, LandlockNet, LandlockScope
from scratchlab.stages.stage import inside

READ = LandlockFs.READ_FILE | LandlockFs.READ_DIR
EXECUTE = LandlockFs.EXECUTE | READ  # the loader reads libraries, and an interpreter its script
DEVICES = LandlockFs.MAKE_CHAR | LandlockFs.MAKE_BLOCK
WRITE = reduce(or_, LandlockFs) & ~(EXECUTE | DEVICES)
ON_A_FILE = LandlockFs.EXECUTE | LandlockFs.WRITE_FILE | LandlockFs.READ_FILE | LandlockFs.TRUNCATE | LandlockFs.IOCTL_DEV


class Since(NamedTuple):
    """Which version of Landlock brought something, and in which Linux."""

    abi: int
    linux: str


# What came after the first version, of Linux 5.13.  landlock(7)
FILES_SINCE = {LandlockFs.REFER: Since(2, "5.19"), LandlockFs.TRUNCATE: Since(3, "6.2"), LandlockFs.IOCTL_DEV: Since(5, "6.10")}
PORTS_SINCE = Since(4, "6.7")
SCOPES_SINCE = Since(6, "6.12")


@inside(
    "landlock(7)",
    "landlock_restrict_self(2)",
    shell="setpriv --landlock-access fs:write --landlock-rule path-beneath:write:/tmp COMMAND",
    engine="not in an engine yet; in a unit of systemd, close to ReadWritePaths=/tmp",
)
def landlock(
    read: Sequence[str] | None = None,
    write: Sequence[str] | None = None,
    execute: Sequence[str] | None = None,
    tcp_bind: Sequence[int] | None = None,
    tcp_connect: Sequence[int] | None = None,
    scope: Sequence[str] = (),
) -> list[str]:
    """Files and TCP ports that a process keeps, where it gives up all others for good.  landlock(7)

    What is not given stays as it is: `landlock(write=["/tmp"])` reads everywhere, and writes only at and below /tmp. To
    write is also to make and to remove, and to use a terminal below /dev; devices can be made nowhere. To execute is also
    to read. `scope` may name "signal" and "abstract_unix_socket": they reach only processes under the same rules then.
    Returns what this kernel is too old to hold the process to.
    """
    abi = _abi()
    files = _files(read, write, execute)
    asked = {LandlockNet.BIND_TCP: tcp_bind, LandlockNet.CONNECT_TCP: tcp_connect}
    ports = {right: _ports(numbers) for right, numbers in asked.items() if numbers is not None}
    scoped = reduce(or_, map(_scope, [scope] if isinstance(scope, str) else scope), LandlockScope(0))
    if not (files or ports or scoped):
        raise InputError("landlock() without rules would change nothing", 'for example landlock(write=["/tmp"])')
    _refuse_newer([*ports], PORTS_SINCE, abi)
    _refuse_newer([*scoped], SCOPES_SINCE, abi)
    handled = reduce(or_, (group.handled for group in files), LandlockFs(0))
    missing = reduce(or_, (right for right, since in FILES_SINCE.items() if since.abi > abi), LandlockFs(0))
    held = handled & ~missing
    with _ruleset(held, reduce(or_, ports, LandlockNet(0)), scoped, abi) as rules:
        for group in files:
            for path in group.paths:
                _allow_below(rules, path, group.allowed & held)
        for right, number in ((right, number) for right, numbers in ports.items() for number in numbers):
            linux.landlock_add_rule(rules, right, number)
        linux.landlock_restrict_self(rules)
    # Where REFER is not known, it is never allowed: to move files between directories.
    return [f"{right.name}: needs Linux {FILES_SINCE[right].linux}" for right in handled & missing & ~LandlockFs.REFER]


# -- files ------------------------------------------------------------------------------------------------------------


class Group(NamedTuple):
    """What one argument means: which accesses it takes away, and which it gives back below which paths."""

    handled: LandlockFs
    allowed: LandlockFs
    paths: Sequence[str]


def _files(read: Sequence[str] | None, write: Sequence[str] | None, execute: Sequence[str] | None) -> list[Group]:
    given = [(READ, READ, read), (WRITE | DEVICES, WRITE, write), (LandlockFs.EXECUTE, EXECUTE, execute)]
    groups = [Group(handled, allowed, _paths(paths)) for handled, allowed, paths in given if paths is not None]
    if groups and write is None:
        # The one access that any rule for files takes away, and that must be asked back.
        groups.append(Group(LandlockFs.REFER, LandlockFs.REFER, ["/"]))
    return groups


def _paths(paths: Sequence[str]) -> list[str]:
    """Paths that are there. Raises InputError."""
    listed = [paths] if isinstance(paths, str) else list(paths)
    if missing := [path for path in listed if not isinstance(path, str) or not os.path.exists(path)]:
        raise InputError(
            f"{', '.join(map(str, missing))}: no such file, so Landlock cannot know it", "it must exist when the rule is made"
        )
    return listed


def _allow_below(rules: int, path: str, allowed: LandlockFs) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            allowed &= ON_A_FILE
        if allowed:
            linux.landlock_add_rule(rules, allowed, fd)
    finally:
        os.close(fd)


# -- ports and scopes -------------------------------------------------------------------------------------------------


def _ports(numbers: Sequence[int]) -> Sequence[int]:
    for number in numbers:
        if not isinstance(number, int) or not 0 <= number < 1 << 16:
            raise InputError(f"{number!r} is not a TCP port", "ports are numbers from 0 to 65535; to bind 0 is to take any")
    return numbers


def _scope(word: str) -> LandlockScope:
    if not isinstance(word, str) or word.upper() not in LandlockScope.__members__:
        raise InputError(f"no such scope: {word!r}", f"there are {', '.join(LandlockScope.__members__).lower()}")
    return LandlockScope[word.upper()]


# -- the kernel's version ---------------------------------------------------------------------------------------------


def _abi() -> int:
    """Which version this kernel has. Raises StageError where it has none."""
    try:
        return linux.landlock_abi()
    except KernelError as error:
        if error.errno == errno.EOPNOTSUPP:
            why, hint = "it was not asked for when this kernel started", "boot with lsm=landlock,… (check: dmesg | grep landlock)"
        elif error.errno == errno.ENOSYS:
            why, hint = "this kernel has none, or a seccomp filter hides it", "it needs Linux 5.13 and CONFIG_SECURITY_LANDLOCK"
        else:
            raise
        raise StageError(f"Landlock does not work here: {why}", hint) from None


def _refuse_newer(wanted: Sequence[LandlockNet | LandlockScope], since: Since, abi: int) -> None:
    """What the kernel does not know would not hold at all, and was asked for by name."""
    if wanted and since.abi > abi:
        names = ", ".join(str(right.name) for right in wanted)
        raise StageError(
            f"{names}: needs version {since.abi} of Landlock, and this kernel has {abi}",
            f"leave it out, or use Linux {since.linux} or newer",
        )


@contextmanager
def _ruleset(files: LandlockFs, ports: LandlockNet, scoped: LandlockScope, abi: int) -> Iterator[int]:
    fd = linux.landlock_create_ruleset(files, ports, scoped, abi)
    try:
        yield fd
    finally:
        os.close(fd)
