"""Which ids of the machine the ids in a user namespace mean: what "root" in there is, as seen from outside.  user_namespaces(7)

Each map is a few lines of three numbers: first id inside, first id outside, how many. It is written once, from outside. Whoever
lacks CAP_SETUID may write one line about the own id; what subuid(5) grants beyond that, newuidmap(1) writes.
"""

import os
from typing import NamedTuple

from scratchlab import linux
from scratchlab.errors import InputError, StageError
from scratchlab.linux import programs
from scratchlab.stages import subids
from scratchlab.stages.stage import Target, outside


class Line(NamedTuple):
    """One line of a map."""

    inside: int
    outside: int
    length: int


@outside(
    "user_namespaces(7)",
    "newuidmap(1)",
    "subuid(5)",
    shell="echo '0 1000 1' > /proc/PID/uid_map; or: newuidmap PID 0 1000 1 1 100000 65535",
    engine="podman run --uidmap 0:1000:1 --gidmap 0:1000:1; dockerd --userns-remap",
    needs=("user",),
)
def map_ids(target: Target, inside: int = 0, outside: int | str | None = None, count: int = 1) -> None:
    """Ids `inside` the user namespace that mean ids `outside`, by default our own.  user_namespaces(7)

    An ordinary user's own is one id; where `count` is more, the others are those that /etc/subuid and /etc/subgid grant. For
    root, "auto" outside are ids that nobody else has.
    """
    if not 1 <= count < 1 << 32 or inside < 0 or (isinstance(outside, int) and outside < 0):
        raise InputError(f"no ids: {count} from {inside} inside, {outside} outside", "count from 1, ids from 0")
    if isinstance(outside, str):
        outside = _unused(target, outside, count)
    if may_map_anything():
        write_maps(target, *(Line(inside, own if outside is None else outside, count) for own in (os.geteuid(), os.getegid())))
    elif count == 1 and outside in (None, os.geteuid()):
        # Who could drop a group by setgroups(2) could open what was closed to that group: so first, nobody in there can.
        linux.write_file(f"/proc/{target.pid}/setgroups", "deny")
        write_maps(target, Line(inside, os.geteuid(), 1), Line(inside, os.getegid(), 1))
    else:
        _map_granted(target, inside, outside, count)


def _unused(target: Target, outside: str, count: int) -> int:
    if outside != "auto":
        raise InputError(f"no ids: {outside!r} outside", 'give a number, or "auto"')
    if not may_map_anything():
        raise StageError('ids "auto" are for root to give', "map_ids(count=65536) takes those that /etc/subuid grants you")
    return subids.claim_ids(target.journal, count).first


def may_map_anything() -> bool:
    """Whether the kernel lets us write any map."""
    both = linux.mask([linux.Cap.SETUID, linux.Cap.SETGID])
    return linux.capget().effective & both == both


def write_maps(target: Target, uids: Line, gids: Line) -> None:
    """Write both maps of a process that is in a new user namespace, a line each."""
    for name, line in (("uid_map", uids), ("gid_map", gids)):
        linux.write_file(f"/proc/{target.pid}/{name}", f"{line.inside} {line.outside} {line.length}\n")


def _map_granted(target: Target, inside: int, outside: int | None, count: int) -> None:
    """Have newuidmap(1) and newgidmap(1) map what subuid(5) and subgid(5) grant, after a look of our own: we say what to do."""
    maps = {
        "newuidmap": _lines(subids.SUBUID, os.geteuid(), inside, outside, count),
        "newgidmap": _lines(subids.SUBGID, os.getegid(), inside, outside, count),
    }
    for program, lines in maps.items():
        programs.run(program, target.pid, *(number for line in lines for number in line))


def _lines(path: str, own: int, inside: int, outside: int | None, count: int) -> list[Line]:
    if outside is not None:
        subids.require(path, subids.IdRange(outside, count))
        return [Line(inside, outside, count)]
    others = subids.require(path, count - 1)
    return [Line(inside, own, 1), Line(inside + 1, others.first, others.length)]
