"""What was found in one container, read from what the probe said: nothing of it is believed to be more than text."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scratchlab.judges.tools import PLACE
from scratchlab.linux import proc
from scratchlab.linux.proc import MountPoint
from scratchlab.observe.reader import CAPABILITY_SETS

# How a call ends that is not to be made. To our socket of no type the kernel says EINVAL; a filter, that the family is unknown.
REFUSED = ("EPERM", "EACCES", "ENOSYS", "EAFNOSUPPORT", "SIGSYS")


@dataclass(frozen=True)
class Evidence:
    """One container from inside."""

    engine: str  # with its version, if it has one
    capabilities: Mapping[str, frozenset[str]]  # by set: effective, permitted …
    capsh: str  # all that `capsh --print` says
    no_new_privs: bool
    filters: int  # of seccomp
    mounts: tuple[MountPoint, ...]
    namespaces: Mapping[str, str]  # kind -> "uts:[4026531838]"
    strangers: frozenset[str]  # pids of other pid namespaces that it sees
    links: Mapping[str, str]  # name -> MAC address
    sockets: frozenset[str]  # abstract ones that it sees
    devices: frozenset[str]  # in /dev, that can be opened
    made: Mapping[str, str]  # device nodes that it made: why they could not be opened, or ""
    readable: frozenset[str]  # files of /proc that say something
    writable: frozenset[str]  # files of /proc and /sys that can be opened for writing
    calls: Mapping[str, str]  # what the kernel answered, by system call

    @property
    def allowed(self) -> frozenset[str]:
        """The system calls that are made, whatever comes of it."""
        return frozenset(name for name, answer in self.calls.items() if answer not in REFUSED)


def read(engine: str, said: Mapping[str, Any]) -> Evidence:
    """Evidence from the JSON of probe.py."""
    status = proc.parse_status(said["status"])
    mounts = proc.parse_mountinfo(said["mountinfo"])
    return Evidence(
        engine=engine,
        capabilities={name: frozenset(proc.parse_capabilities(status[field])) for name, field in CAPABILITY_SETS.items()},
        capsh=said["capsh"],
        no_new_privs=status["NoNewPrivs"] == "1",
        filters=int(status.get("Seccomp_filters", "0")),
        # The judge itself is in the room, and does not count.
        mounts=tuple(mount for mount in mounts if mount.target != PLACE),
        namespaces=said["namespaces"],
        links=said["links"],
        made=said["made"],
        calls=said["calls"],
        **{name: frozenset(said[name]) for name in ("strangers", "sockets", "devices", "readable", "writable")},
    )


@dataclass(frozen=True)
class Host:
    """What is the machine's, to know it again inside."""

    namespaces: Mapping[str, str]
    mounts: frozenset[tuple[str, str]]  # filesystem and the directory of it that is mounted
    addresses: frozenset[str]  # of links

    @classmethod
    def here(cls) -> "Host":
        """The machine as this process sees it."""
        mounts = proc.parse_mountinfo(os.fsdecode(Path("/proc/self/mountinfo").read_bytes()))
        return cls(
            {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in os.listdir("/proc/self/ns")},
            frozenset((mount.device, mount.root) for mount in mounts),
            frozenset(map(_address, Path("/sys/class/net").iterdir())),
        )


def _address(link: Path) -> str:
    try:
        return (link / "address").read_text().strip()
    except OSError:  # a link that goes while we look
        return ""
