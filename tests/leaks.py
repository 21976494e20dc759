"""What is on the machine that our code could have left there. Each test asks twice, so no program is run for it."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class HostState(NamedTuple):
    """Everything that our code could leave on the machine, or take from it, as the kernel itself says it."""

    things: set[str]  # that may come and go, while other tests run on the same machine
    fixed: set[str]  # that only come or go by mistake
    switches: dict[str, str]  # sysctls, but for those that some sandbox of another test holds at the moment

    def leaked_since(self, before: "HostState") -> set[str]:
        """What is here now and was not before, or the other way round."""
        switched = {f"{path} is {now}" for path, now in self.switches.items() if before.switches.get(path, now) != now}
        return self.things - before.things | self.fixed ^ before.fixed | switched


def host_state() -> HostState:
    """The machine now."""
    links = dict(_links())
    ours = [name for name, is_virtual in links.items() if is_virtual and name != "lo"]
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    fixed = {os.uname().nodename, *mounts, *(links.keys() - set(ours))}
    things = {f"link {name}" for name in ours} | {f"table {name}" for name in tables()} | set(_processes())
    return HostState(
        things | _files("/sys/fs/cgroup", "*/scratchlab/*/") | _files("/run/scratchlab", "**/*"), fixed, _switches(ours)
    )


def _links() -> Iterator[tuple[str, bool]]:
    for path in Path("/sys/class/net").iterdir():
        with suppress(OSError):  # it went while we look, or is a file
            yield path.name, "/virtual/" in os.readlink(path)


_NETLINK_NETFILTER, _GET_TABLES, _TABLE_NAME = 12, 10 << 8 | 1, 1  # linux/netfilter/nf_tables.h
_REQUEST_DUMP, _ERROR, _DONE = 0x301, 2, 3  # netlink(7)


def tables() -> set[str]:
    """nftables' tables; none where we may not ask.  netlink(7)"""
    found: set[str] = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
        netlink.send(struct.pack("=IHHIIBBH", 20, _GET_TABLES, _REQUEST_DUMP, 1, 0, 0, 0, 0))
        answer = netlink.recv(1 << 16)
        while struct.unpack_from("=IH", answer)[1] not in (_ERROR, _DONE):
            length = struct.unpack_from("=I", answer)[0]
            found.add(f"{_name(answer[20:length])} of family {answer[16]}")
            answer = answer[(length + 3) & ~3 :] or netlink.recv(1 << 16)
    return found


def _name(attributes: bytes) -> str:
    while attributes:
        length, kind = struct.unpack_from("=HH", attributes)
        if kind == _TABLE_NAME:
            return attributes[4:length].rstrip(b"\0").decode()
        attributes = attributes[(length + 3) & ~3 :]
    return ""


def _files(where: str, pattern: str) -> set[str]:
    while True:
        with suppress(FileNotFoundError):  # it goes while we look: another test's
            found = [path for path in Path(where).glob(pattern) if path.is_dir() == pattern.endswith("/")]
            return {str(path) for path in found if path.name != "lock"}


def _processes() -> Iterator[str]:
    """Agents, and keepers whose program is gone: a program such as this one keeps its keeper for all of its tests."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        # By its command line: a program that is a script is called by the script's name alone.
        words = _words(pid)
        if words.startswith(b"scratchlab agent") or (b" scratchlab.sandbox.keeper " in words and _is_orphan(pid)):
            yield f"process {pid} {words.decode(errors='replace')}"


def _words(pid: str) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ")
    except OSError:
        return b""


def _is_orphan(pid: str) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return b"python" not in _words(stat.rpartition(")")[2].split()[1])


def _switches(ours: list[str]) -> dict[str, str]:
    held = list(Path("/run/scratchlab/shared").glob("sysctl*"))
    root = Path("/proc/sys/net/ipv4")
    paths = [root / "ip_forward", *root.glob("conf/*/forwarding"), *root.glob("conf/*/route_localnet")]
    kept = [path for path in paths if path.parent.name not in ours and not (held and path.name != "route_localnet")]
    return {str(path): _text(path) for path in kept}


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # of a link that has gone
        return ""
