"""Control groups: what their files refuse, as far as the group's own files tell.  cgroups(7)

A group is a directory, and its files are written like any other: so the calls are write, mkdir, rmdir and open, and only the
path says that a control group was meant.
"""

import os
from collections.abc import Callable

from scratchlab.errors import facts
from scratchlab.errors.cause import Asked, Cause

_PAGE = "cgroups(7)"


def refused(asked: Asked) -> Cause | None:
    """What a control group said, if the path leads to one."""
    path = next(iter(asked.paths()), "")
    group, file = (path, "") if asked.call in ("mkdir", "rmdir") else os.path.split(path)
    if not _is_group(group):
        return None
    find = _OF.get((file or asked.call, asked.symbol)) or _OF.get(("*", asked.symbol))
    return find(group, asked.text("text")) if find else None


def _is_group(path: str) -> bool:
    place = facts.mount_of(path)
    return place is not None and place.fstype in ("cgroup", "cgroup2")


def _says(group: str, file: str) -> str:
    return " ".join(facts.text(f"{group}/{file}").split())


def _inner(group: str, _text: str) -> Cause:
    return Cause(
        f"{group} hands controllers down to groups below it ({_says(group, 'cgroup.subtree_control')}), "
        "so it can hold no process itself",
        f"cat {group}/cgroup.subtree_control",
        _PAGE,
    )


def _occupied(group: str, _text: str) -> Cause:
    inside = facts.named(facts.text(f"{group}/cgroup.procs").split())
    return Cause(
        f"a group with processes in it cannot hand controllers down, and these are in {group}: {inside}. "
        "Move them into a group of their own first",
        f"cat {group}/cgroup.procs",
        _PAGE,
    )


def _not_handed_down(group: str, text: str) -> Cause:
    name, above = text.lstrip("+-"), os.path.dirname(group)
    return Cause(
        f"the group above does not hand {name} down to {group}, which has: "
        f"{_says(group, 'cgroup.controllers') or 'no controller'}. "
        f"Write +{name} to {above}/cgroup.subtree_control first",
        f"cat {above}/cgroup.subtree_control",
        _PAGE,
    )


def _still_used(group: str, _text: str) -> Cause:
    pids = facts.text(f"{group}/cgroup.procs").split()
    below = [name for name in facts.names(group) if os.path.isdir(f"{group}/{name}")]
    if below:
        return Cause(f"{group} has groups below it: {', '.join(below[:5])}. Remove those first", f"ls -d {group}/*/", _PAGE)
    return Cause(f"processes are in {group}: {facts.named(pids)}", f"cat {group}/cgroup.procs", _PAGE)


def _no_such_process(_group: str, text: str) -> Cause:
    return Cause(f"there is no process {text.strip()} any more", f"ls -d /proc/{text.strip()}", _PAGE)


def _not_a_pid(_group: str, text: str) -> Cause:
    return Cause(f"{text!r} is not the number of a process", page=_PAGE)


def _in_use(group: str, text: str) -> Cause:
    used = facts.text(f"{group}/memory.usage_in_bytes")
    return Cause(
        f"the group uses {used} bytes already, and the kernel cannot take back enough for {text}",
        f"cat {group}/memory.usage_in_bytes",
    )


def _no_cpus(group: str, _text: str) -> Cause:
    return Cause(
        f"{group} has no CPU or no memory node that a process could use: write cpuset.cpus and cpuset.mems first",
        f"cat {group}/cpuset.cpus {group}/cpuset.mems",
        "cpuset(7)",
    )


def _bad_value(group: str, text: str) -> Cause:
    return Cause(f"{text!r} is not a value that this file takes", f"ls {group}; man 7 cgroups", _PAGE)


def _not_a_disk(_group: str, text: str) -> Cause:
    return Cause(f"{text.split()[0] if text else 'this'} is not a whole disk", "lsblk")


def _gone(group: str, _text: str) -> Cause:
    return Cause(f"the group {group} was removed in between", f"ls -d {group}")


def _above_absent(_group: str, _text: str) -> None:
    """mkdir below a group that is not there: the path says it better."""


def _absent(group: str, _text: str) -> Cause:
    if os.path.isdir(group):
        return Cause("this group has no such file: its controller is not on, or this kernel has none", f"ls {group}", _PAGE)
    return Cause(f"the group {group} is gone", f"ls -d {group}")


def _not_ours(group: str, _text: str) -> Cause | None:
    if os.geteuid() == 0 and facts.in_initial_user_namespace():
        return None
    return Cause(
        f"control groups belong to root here, and {group} to user {_owner(group)}: use sudo, or have a subtree delegated to you. "
        "To move a process, the group above both must be yours too",
        f"ls -ld {group}",
        _PAGE,
    )


def _owner(group: str) -> str:
    while not os.path.exists(group):
        group = os.path.dirname(group)
    return str(os.stat(group).st_uid)


def _read_only(group: str, _text: str) -> Cause:
    return Cause("control groups are mounted read-only here", f"findmnt -T {group}")


def _too_many_groups(group: str, _text: str) -> Cause | None:
    while (group := os.path.dirname(group)) and _is_group(group):
        for file in ("cgroup.max.descendants", "cgroup.max.depth"):
            if facts.text(f"{group}/{file}") not in ("", "max"):
                return Cause(
                    f"{group} allows no more groups below it: {file} is {_says(group, file)}", f"cat {group}/{file}", _PAGE
                )
    return None


def _other_type(group: str, _text: str) -> Cause:
    said = _says(group, "cgroup.type")
    return Cause(f"{group} is of the type {said!r}, which takes threads or nothing", f"cat {group}/cgroup.type", _PAGE)


_OF: dict[tuple[str, str], Callable[[str, str], Cause | None]] = {
    ("cgroup.procs", "EBUSY"): _inner,
    ("cgroup.procs", "ESRCH"): _no_such_process,
    ("tasks", "ESRCH"): _no_such_process,
    ("cgroup.procs", "EINVAL"): _not_a_pid,
    ("cgroup.procs", "ENOSPC"): _no_cpus,
    ("tasks", "ENOSPC"): _no_cpus,
    ("cgroup.procs", "ENOTSUP"): _other_type,
    ("cgroup.subtree_control", "EBUSY"): _occupied,
    ("cgroup.subtree_control", "ENOENT"): _not_handed_down,
    ("memory.limit_in_bytes", "EBUSY"): _in_use,
    ("io.max", "ENODEV"): _not_a_disk,
    ("rmdir", "EBUSY"): _still_used,
    ("mkdir", "EAGAIN"): _too_many_groups,
    ("mkdir", "ENOENT"): _above_absent,
    ("*", "ENODEV"): _gone,
    ("*", "ENOENT"): _absent,
    ("*", "EACCES"): _not_ours,
    ("*", "EPERM"): _not_ours,
    ("*", "EROFS"): _read_only,
    ("*", "EINVAL"): _bad_value,
    ("*", "ERANGE"): _bad_value,
}
