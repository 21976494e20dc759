"""Which ids of the machine a user may hand out: a login holds one, and the administrator may grant a range more.  subuid(5)

    /etc/subuid     ann:100000:65536        ann may give the ids 100000 to 165535 to processes in her user namespaces
    /etc/subgid     1000:100000:65536       the same for groups; a user is named by login or by number in both

The kernel knows nothing of these files. newuidmap(1), which belongs to root and is setuid, reads them and writes the map.
"""

import os
import pwd
from contextlib import suppress
from typing import NamedTuple

from scratchlab.errors import HostError, facts
from scratchlab.journal import Journal
from scratchlab.linux import programs
from scratchlab.stages.claims import claim

SUBUID, SUBGID = "/etc/subuid", "/etc/subgid"
FULL = 65536  # ids that a root filesystem expects: 0 to 65535, where 65534 is nobody

# They write the maps, by the right that their files give: setuid, or a file capability.
PROGRAMS = ("newuidmap", "newgidmap")

# Which option of usermod(8) adds a line to which file.
_OPTIONS = {SUBUID: "--add-subuids", SUBGID: "--add-subgids"}


# Whose grant is there for containers in general, the best first; and what we take where there is none: ids that no distribution
# gives to users, and that are still positive in a signed number.  systemd's UIDS-GIDS.md has the whole map
OWNERS = ("scratchlab", "containers", "root")
DEFAULT = (0x7000_0000, 0x0FFE_0000)


class IdRange(NamedTuple):
    """Some ids in a row."""

    first: int
    length: int

    @property
    def last(self) -> int:
        """The last id of the range."""
        return self.first + self.length - 1

    def holds(self, other: "IdRange") -> bool:
        """Whether all ids of another range are in this one."""
        return self.first <= other.first and other.last <= self.last


def parse_subids(text: str, name: str, uid: int) -> list[IdRange]:
    """The ranges that subuid(5) grants to a user; a line that makes no sense grants nothing.  subuid(5)"""
    rows = [line.split(":") for line in text.splitlines()]
    numbers = [row[1:] for row in rows if len(row) == 3 and row[0] in (name, str(uid)) and row[0]]
    plain = [(int(first), int(count)) for first, count in numbers if _is_number(first) and _is_number(count)]
    return [IdRange(first, count) for first, count in plain if count and first + count < 1 << 32]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10


def granted(path: str) -> list[IdRange]:
    """What a file of subordinate ids grants to this user, the widest range first."""
    return sorted(parse_subids(facts.text(path), login(), os.getuid()), key=lambda found: -found.length)


def claim_ids(journal: Journal, count: int) -> IdRange:
    """Reserve so many ids that no other container of ours has. Raises HostError if all are taken.  subuid(5)"""
    pool = _pool(count)
    for first in range(pool.first, pool.last - count + 2, count):
        if claim(journal, f"ids:{first}"):
            return IdRange(first, count)
    raise HostError(f"no {count} ids of {pool.first} to {pool.last} are free", "stop a container; or run `scratchlab clean`")


def _pool(count: int) -> IdRange:
    for name in OWNERS:
        uids, gids = (parse_subids(facts.text(path), name, -1) for path in (SUBUID, SUBGID))
        # One number for users and groups: a map is easier to read when both are the same.
        if both := [found for found in uids if found.length >= count and any(other.holds(found) for other in gids)]:
            return max(both, key=lambda found: found.length)
    return IdRange(*DEFAULT)


def login() -> str:
    """This user's login; '' for one that passwd(5) does not know."""
    with suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_name
    return ""


def available() -> int:
    """How many ids a user namespace of ours can map, one of which is our own."""
    if lacks():
        return 1
    return min(FULL, 1 + granted(SUBUID)[0].length, 1 + granted(SUBGID)[0].length)


def lacks() -> str:
    """What keeps us from giving out more ids than our own, and what root can do; '' if nothing."""
    if not all(programs.find(program) for program in PROGRAMS):
        return f"{' and '.join(PROGRAMS)} are not installed; as root: apt-get install uidmap"
    if empty := [path for path in (SUBUID, SUBGID) if not granted(path)]:
        return f"{' and '.join(empty)} {'grants' if len(empty) == 1 else 'grant'} you no more; as root: {how_to_grant(*empty)}"
    return ""


def require(path: str, wanted: int | IdRange) -> IdRange:
    """So many subordinate ids, or exactly these. Raises HostError that says which line grants them."""
    for found in granted(path):
        if isinstance(wanted, IdRange) and found.holds(wanted):
            return wanted
        if isinstance(wanted, int) and found.length >= wanted:
            return IdRange(found.first, wanted)
    asked = f"the ids {wanted.first} to {wanted.last}" if isinstance(wanted, IdRange) else f"{wanted} ids"
    raise HostError(f"{path} does not grant {asked} to {login() or os.getuid()}", f"as root: {how_to_grant(path)}")


def how_to_grant(*paths: str) -> str:
    """The command that grants a range, for a user with a login; else the line to write."""
    line = f"{os.getuid()}:100000:{FULL}"
    if not login():
        return "; ".join(f"echo {line} >> {path}" for path in paths)
    return f"usermod {' '.join(f'{_OPTIONS[path]} 100000-{100000 + FULL - 1}' for path in paths)} {login()}"
