"""Control groups of version 1, version 2 and both at once, behind the same verbs.  cgroups(7)

Version 2 is one tree with all controllers; version 1 has a tree for each controller, or for a few; on a hybrid machine some
controllers are here and some there. Our groups are MOUNT/scratchlab/NAME in each tree that we need. Limits and counters go
by version 2's names (cpu.max, memory.events); cgroup_v1.py knows what the older files call them. An ordinary user's groups
are below what was delegated to it, if anything was.
"""

import errno
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

from scratchlab.errors import HostError, InputError, KernelError
from scratchlab.errors.facts import named
from scratchlab.linux.cgroup_files import peek, read, table, write
from scratchlab.linux.cgroup_layout import Hierarchy, Layout, layout
from scratchlab.linux.cgroup_v1 import files, from_v1, to_v1
from scratchlab.linux.ledger import look
from scratchlab.linux.posix import mkdir
from scratchlab.linux.proc import parse_cgroup

__all__ = [
    "Hierarchy", "Layout", "counters", "create", "enter", "groups_of", "has", "in_both_versions", "is_ours", "kill", "layout",
    "limit", "limits_and_usage", "path_of", "procs", "read", "remove", "require", "show", "shown_in", "version", "write",
]  # fmt: skip

NODE = "scratchlab"  # the parent of all our groups, in every tree
PATIENCE = 10.0  # seconds that the processes of a group may take to die


def path_of(controller: str | None, name: str) -> str:
    """Where the group `name` of ours is, or would be; no controller means the tracking tree."""
    hierarchy = layout().of(controller) if controller else layout().tracking
    return f"{hierarchy.home}/{NODE}/{name}"


def require(controller: str) -> None:
    """Raise HostError if this machine has no such controller, or keeps it from us."""
    hierarchy = layout().of(controller)
    home = hierarchy.home
    if not is_usable(hierarchy):
        raise HostError(
            "control groups are root's here, and none is delegated to you",
            "use sudo; or, where systemd runs: systemd-run --user --scope -p Delegate=yes scratchlab …",
        )
    if hierarchy.version == 1 or controller in peek(home, "cgroup.subtree_control").split():
        return
    if controller not in peek(home, "cgroup.controllers").split():
        raise HostError(
            f"{controller} is not handed down to {home}, which is delegated to you",
            f"as root: echo +{controller} > {os.path.dirname(home)}/cgroup.subtree_control, and so for those above",
        )
    # The machine's own root, which may do both, is the one group without this file.
    if has(home, "cgroup.type") and (held := peek(home, "cgroup.procs").split()):
        raise HostError(
            f"{home} holds processes, so it cannot hand {controller} down: {named(held)}", "move them into a group below it first"
        )


def is_usable(hierarchy: Hierarchy) -> bool:
    """Whether we may make groups in a tree: it is ours, or a part of it is delegated to us."""
    return os.access(hierarchy.home, os.W_OK)


def can_track() -> bool:
    """Whether we may keep a sandbox's processes in a group of their own."""
    return bool(layout().hierarchies) and is_usable(layout().tracking)


def version(path: str) -> int:
    """Of which version a group is: 1 or 2."""
    return 2 if os.path.exists(f"{path}/cgroup.controllers") else 1


# -- making groups ----------------------------------------------------------------------------------------------------


def create(controller: str | None, name: str) -> str:
    """Make the group `name` in the tree of `controller`, and give its path.  cgroups(7)"""
    path = path_of(controller, name)
    for _ in range(100):
        try:
            _create(path, controller)
            break
        except KernelError as error:
            # Another process of ours has removed the empty node, in the middle of this.
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise
    else:
        _create(path, controller)
    return path


def _create(path: str, controller: str | None) -> None:
    node = os.path.dirname(path)
    if not os.path.isdir(node):
        _mkdir(node)
    if controller and version(node) == 2 and controller not in ("cpuacct", "freezer"):
        for above in (os.path.dirname(node), node):
            _hand_down(above, controller)
    if not os.path.isdir(path):
        _mkdir(path)


def _mkdir(path: str) -> None:
    try:
        mkdir(path)
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise


def _hand_down(group: str, controller: str) -> None:
    """Let the groups below `group` use a controller. It stays so: others may have come to rely on it."""
    if controller not in peek(group, "cgroup.subtree_control").split():
        write(group, "cgroup.subtree_control", f"+{controller}")


def enter(path: str, pid: int) -> None:
    """Move a process, with all its threads, into a group; what it starts later is born there.  cgroups(7)

    Costs 6 to 15 ms when nothing was moved lately, a wait for all CPUs: see fork_into in cgroup_fork.py.
    """
    write(path, "cgroup.procs", str(pid))


def procs(path: str) -> list[int]:
    """The processes in a group and in the groups below it, as far as this pid namespace can see them."""
    pids = {int(word) for group in _tree(path) for word in peek(group, "cgroup.procs").split()}
    # 0 is a process in a pid namespace that is not ours; to kill(2) it would mean our own process group.
    return sorted(pids - {0})


def _tree(path: str) -> Iterator[str]:
    """A group and all groups below it, children first."""
    return (directory for directory, _, _ in os.walk(path, topdown=False))


# -- limits -----------------------------------------------------------------------------------------------------------


def limit(path: str, knob: str, value: str) -> None:
    """Set cpu.max, memory.max, pids.max or io.max, written as in version 2, on either version."""
    writes = [(knob, value)] if version(path) == 2 else to_v1(knob, value, lambda name: peek(path, name))
    for file, text in writes:
        write(path, file, text)


def has(path: str, knob: str) -> bool:
    """Whether a group has a file: memory.swap.max is missing where the kernel does not account for swap."""
    return os.path.exists(f"{path}/{knob}")


def show(path: str, knob: str) -> str:
    """What version 2's file `knob` says, or would say, of a group of either version; '' where nothing says it."""
    return peek(path, knob) if version(path) == 2 else from_v1(knob, lambda name: peek(path, name))


def shown_in(path: str, knob: str) -> str:
    """The group's own files that `knob` stands for, and what they say: `cpu.cfs_quota_us 20000, …`."""
    names = [knob] if version(path) == 2 else files(knob)
    return ", ".join(f"{name} {text}" for name in names if (text := " ".join(peek(path, name).split("\n"))))


def in_both_versions(path: str, knob: str) -> dict[int, str]:
    """A limit in the files of either version: the group's own as they are, the others as they would be."""
    value, own = show(path, knob), version(path)
    older = dict(to_v1(knob, value, lambda _: "")) if own == 2 else {}
    newer = f"{knob} {value}"
    return {1: ", ".join(f"{name} {older[name]}" for name in files(knob) if name in older) or shown_in(path, knob), 2: newer}


def counters(path: str, knob: str) -> dict[str, int]:
    """A file of names and numbers, such as cpu.stat, memory.events and pids.events."""
    return table(show(path, knob))


# -- what a process is held to ----------------------------------------------------------------------------------------

SHOWN = ("cpu.max", "memory.max", "memory.current", "pids.max", "pids.current", "io.max")


def groups_of(pid: int) -> dict[str, str]:
    """The group of a process for each controller, as a directory."""
    path = f"/proc/{pid}/cgroup"
    with look("open", {"pathname": path}, lambda: open(path, errors="surrogateescape")) as file:
        rows = parse_cgroup(file.read())
    # By controllers, "" for version 2: that is how /proc names the trees.
    places = {"io" if word == "blkio" else word: row.path for row in rows for word in row.controllers or ("",)}
    found = {}
    for hierarchy in reversed(layout().hierarchies):
        for controller in hierarchy.controllers & places.keys() if hierarchy.version == 1 else hierarchy.controllers:
            place = places.get(controller if hierarchy.version == 1 else "", "/")
            found[controller] = os.path.normpath(f"{hierarchy.mount}/{os.path.relpath(place, hierarchy.root)}")
    return found


def limits_and_usage(pid: int) -> dict[str, str]:
    """A process's groups, limits and usage, by version 2's names and in its words; "max" where there is no limit."""
    groups = groups_of(pid)
    said: dict[str, str] = {}
    for knob in SHOWN:
        controller, _, what = knob.partition(".")
        if controller in groups:
            said[f"{controller}.group"] = groups[controller]
            said[knob] = show(groups[controller], knob) or ("max" if what == "max" else "")
    if usage := _cpu_usage(groups):
        said["cpu.usage_usec"] = usage
    return {knob: text for knob, text in said.items() if text}


def _cpu_usage(groups: dict[str, str]) -> str:
    if nanoseconds := peek(groups.get("cpuacct", ""), "cpuacct.usage"):
        return str(int(nanoseconds) // 1000)
    return str(counters(groups["cpu"], "cpu.stat").get("usage_usec", "")) if "cpu" in groups else ""


# -- taking groups back -----------------------------------------------------------------------------------------------


def kill(path: str) -> None:
    """Kill all that is in a group and below it, and all that is born there meanwhile.  cgroups(7)

    Version 2 has a file for that since Linux 5.14. Elsewhere it takes rounds, and pids.max 0 so that the rounds end.
    """
    if has(path, "cgroup.kill"):
        write(path, "cgroup.kill", "1")
        return
    for knob, value in (("pids.max", "0"), ("freezer.state", "THAWED")):  # a frozen process of version 1 does not even die
        if has(path, knob):
            write(path, knob, value)
    deadline = time.monotonic() + PATIENCE
    while (pids := procs(path)) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.0002)


def remove(path: str) -> None:
    """Remove a group of ours with all that is in it: processes, and the sandbox's own groups.  cgroups(7)

    Silent if it is gone. Raises InputError for a group that is not ours, KernelError if something in it refuses to die.
    """
    node = _node_of(path)
    if not node:
        raise InputError(f"{path} is not a control group of ours: those are below MOUNT/{NODE}/")
    deadline = time.monotonic() + PATIENCE
    while not _removed(path):
        if time.monotonic() > deadline:
            raise KernelError("rmdir", {"path": path}, errno.EBUSY, f"these processes do not die: {named(procs(path))}")
        _kill_sandbox(path)
        time.sleep(0.0002)
    with suppress(OSError):  # other sandboxes have groups in it, or it went with one of them
        os.rmdir(node)


def is_ours(path: str) -> bool:
    """Whether a path is below our node in one of the trees."""
    return bool(_node_of(path))


def _node_of(path: str) -> str:
    """Our node above a path, or ''. This is what keeps `remove` from all that is not ours, so the path must be plain."""
    for hierarchy in layout().hierarchies if path == os.path.normpath(path) else ():
        above, _, below = path.removeprefix(hierarchy.mount).partition(f"/{NODE}/")
        # An ordinary user's may be anywhere: another session of hers, with another delegated group, may have made it.
        if path.startswith(f"{hierarchy.mount}/") and below and (not above or os.geteuid() != 0):
            return f"{hierarchy.mount}{above}/{NODE}"
    return ""


def _removed(path: str) -> bool:
    """Remove a group and those below it as far as they are empty, and say whether all are gone.  rmdir(2)"""
    for group in [path, *_tree(path)]:  # most have none below: then the first rmdir is all
        with suppress(OSError):
            os.rmdir(group)
    return not os.path.exists(path)


def _kill_sandbox(path: str) -> None:
    # A fork bomb can outrun the rounds of `kill` in version 1's other trees, but not in the tree that tracks it.
    tracked = path_of(None, os.path.basename(path))
    ours = os.path.dirname(path) == _node_of(path)
    for group in (tracked, path) if ours else (path,):
        if os.path.isdir(group):
            with suppress(OSError):  # removed in between
                kill(group)
