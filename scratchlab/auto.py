"""What "auto" means: the parts of a container that depend on who asks for it, and on which machine.

Root gets all of it. An ordinary user gets a user namespace, and by it nearly all; what this machine keeps back is said in a note
if it was left to us, and is an error if it was asked for.
"""

import fcntl
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from scratchlab import linux
from scratchlab.errors import HostError, InputError
from scratchlab.linux import cgroupfs
from scratchlab.stages import subids, usernet
from scratchlab.stages.sizes import machine_memory

AUTO = "auto"

# 2 GB, or all that the machine has.
DEFAULT_MEMORY = "2G" if machine_memory() >= 2 << 30 else str(machine_memory())
LIMITS = {"cpu": 0.2, "memory": DEFAULT_MEMORY, "pids": 512}
OPTIONS = {"cpu": "--cpus", "memory": "--memory", "pids": "--pids"}

_NS_GET_USERNS = 0xB701

NETWORKS = ("veth", *usernet.PROGRAMS, "none", "host")
USER_NAMESPACES = ("", "host", AUTO)


class Means(NamedTuple):
    """What a container gets, with everything decided."""

    userns: str  # "" for none, "own" for one whose root is this user, "auto" for one with ids that nobody else has
    ids: int  # how many ids are mapped in it
    network: str
    limits: dict[str, Any]  # by controller; only those that are to be set
    notes: tuple[str, ...]  # what is missing here, why, and what to do


def decide(userns: str, network: str, limits: Mapping[str, Any]) -> Means:
    """Replace each "auto" by what this user can have. Raises HostError for what was asked for and cannot be had."""
    notes: list[str] = []
    namespace = _user_namespace(userns)
    ids = _ids(notes) if namespace == "own" else subids.FULL
    return Means(namespace, ids, _network(network, namespace, notes), _limits(limits, notes), tuple(notes))


def is_privileged() -> bool:
    """Whether this process may make namespaces and mounts without a user namespace of its own.  capabilities(7)"""
    return bool(linux.capget().effective & linux.mask([linux.Cap.SYS_ADMIN]))


def may_plug_in() -> bool:
    """Whether we may make links here: root of a user namespace may not, in the network that it found.  ioctl_ns(2)"""
    if not linux.capget().effective & linux.mask([linux.Cap.NET_ADMIN]):
        return False
    with open("/proc/self/ns/net") as network:
        try:
            owner = fcntl.ioctl(network, _NS_GET_USERNS)
        except OSError:  # it belongs to a user namespace around ours
            return False
    try:
        return os.path.samestat(os.fstat(owner), os.stat("/proc/self/ns/user"))
    finally:
        os.close(owner)


def _user_namespace(asked: str) -> str:
    if asked not in USER_NAMESPACES:
        raise InputError(f"--userns {asked}: no such user namespace", f"choose one of {', '.join(USER_NAMESPACES[1:])}")
    if is_privileged():
        return "" if asked == "host" else asked
    if asked == "host":
        raise HostError(
            "--userns host needs root: without it, a user namespace is what gives the right to the others", "use sudo"
        )
    return "own"


def _ids(notes: list[str]) -> int:
    if why := subids.lacks():
        notes.append(f"only root has an id inside: {why}")
    return subids.available()


def _network(asked: str, userns: str, notes: list[str]) -> str:
    if asked not in (*NETWORKS, AUTO):
        raise InputError(f"--network {asked}: no such network", f"choose one of {', '.join(NETWORKS)}")
    if userns != "own" and may_plug_in():
        return "veth" if asked == AUTO else asked
    if asked == "veth":
        raise HostError("--network veth needs root, who alone may plug a cable into the host", "use sudo, or --network pasta")
    return _best_network(notes) if asked == AUTO else asked


def _best_network(notes: list[str]) -> str:
    """What an ordinary user can have: a program that carries the network, or none."""
    reasons = {program: usernet.lacks(program) for program in usernet.PROGRAMS}
    for program, reason in reasons.items():
        if not reason:
            return program
    notes.append(f"there is no network: {'; '.join(dict.fromkeys(reasons.values()))}")
    return "none"


def _limits(asked: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    wanted = {name: LIMITS[name] if limit == AUTO else limit for name, limit in asked.items() if limit is not None}
    refused = {name: why for name in wanted if (why := _refusal(name))}
    for name, why in refused.items():
        if asked[name] != AUTO:
            raise HostError(f"{OPTIONS[name]} {asked[name]} cannot be set: {why}", f"{OPTIONS[name]} none goes without")
    if refused:
        notes.append(f"no limit is set on {', '.join(refused)}: {'; '.join(dict.fromkeys(refused.values()))}")
    return {name: limit for name, limit in wanted.items() if name not in refused}


def _refusal(controller: str) -> str:
    """Why a limit cannot be set here, or ''."""
    try:
        cgroupfs.require(controller)
    except HostError as error:
        return f"{error.message}; {error.hint}"
    return ""
