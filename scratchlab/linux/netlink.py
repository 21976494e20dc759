"""Links, addresses and routes: look at them, make them, in this network namespace or another.  rtnetlink(7)

Making is a batch of messages in one system call, each with its line in the ledger:

    send(set_up(1), set_up(2), new_address(2, "172.22.0.2/24"), new_route("172.22.0.1"))
"""

import errno
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from scratchlab.errors import InputError, KernelError
from scratchlab.linux import rtnetlink
from scratchlab.linux.elsewhere import in_namespace
from scratchlab.linux.flags import Clone
from scratchlab.linux.ledger import Bare
from scratchlab.linux.rtnetlink import CHANGE, CREATE, Message, send

__all__ = [
    "Address", "Link", "Route", "addresses", "check_name", "del_link", "in_netns", "index_of", "links", "new_address",
    "new_bridge", "new_route", "new_veth", "preload", "random_mac", "remove_link", "routes", "send", "set_up",
]  # fmt: skip

R = TypeVar("R")

IFF_UP, RT_TABLE_MAIN, RTPROT_BOOT, RTN_UNICAST = 1, 254, 3, 1
LONGEST_NAME = 15  # bytes, of a link: IFNAMSIZ without the NUL at its end
LOOPBACK = 1  # its index in every network namespace


class Link(NamedTuple):
    """One network interface.  ip-link(8)"""

    name: str
    index: int  # type: ignore[assignment]  # the kernel's word; hides tuple.index, which nobody needs here
    kind: str  # "veth", "bridge" …, or "" for hardware and loopback
    address: str  # the MAC address
    up: bool
    mtu: int
    master: str  # the bridge that it is a port of, or ""
    peer: int = 0  # of a veth, the index of the other end, in the namespace where that is


class Address(NamedTuple):
    """One address of a link, with its prefix: 172.22.0.1/24.  ip-address(8)"""

    link: str
    address: str


class Route(NamedTuple):
    """One way out, from the main table: `default` or a subnet.  ip-route(8)"""

    destination: str
    gateway: str  # "" where the destination is on the link itself
    link: str


# -- looking ----------------------------------------------------------------------------------------------------------


def links() -> list[Link]:
    """The links of the calling thread's network namespace, by index.  ip-link(8)"""
    found = sorted(rtnetlink.dump("LINK", {}), key=lambda link: int(link["index"]))
    names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in found}
    return [_as_link(link, names) for link in found]


def addresses(family: int = socket.AF_UNSPEC) -> list[Address]:
    """The addresses of the calling thread's network namespace, IPv4 before IPv6, or of one family.  ip-address(8)"""
    names = dict(socket.if_nameindex())
    found = sorted(rtnetlink.dump("ADDR", {"family": family}), key=lambda a: (a["family"], a["index"]))
    return [Address(names.get(a["index"], ""), f"{_own_end(a)}/{a['prefixlen']}") for a in found]


def routes(family: int = socket.AF_UNSPEC) -> list[Route]:
    """The main routing table of the calling thread's network namespace, IPv4 before IPv6, or of one family.  ip-route(8)"""
    names = dict(socket.if_nameindex())
    found: list[Route] = []
    for each in (family,) if family else (socket.AF_INET, socket.AF_INET6):
        dumped = rtnetlink.dump("ROUTE", {"family": each, "table": RT_TABLE_MAIN})
        found += sorted(_as_route(route, names) for route in dumped)
    return found


def index_of(name: str) -> int:
    """The number of a link, which most messages want. Raises KernelError (ENODEV).  netdevice(7)"""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        there = ", ".join(sorted(name for _, name in socket.if_nameindex()))
        raise KernelError(
            "ioctl", {"op": "SIOCGIFINDEX", "name": f'"{name}"'}, errno.ENODEV, f"the links here: {there}"
        ) from None


def _as_link(link: Any, names: Mapping[int, str]) -> Link:
    info = link.get_attr("IFLA_LINKINFO")
    return Link(
        name=link.get_attr("IFLA_IFNAME"),
        index=link["index"],
        kind=(info.get_attr("IFLA_INFO_KIND") or "") if info else "",
        address=link.get_attr("IFLA_ADDRESS") or "",
        up=bool(link["flags"] & IFF_UP),
        mtu=link.get_attr("IFLA_MTU"),
        master=names.get(link.get_attr("IFLA_MASTER") or 0, ""),
        peer=link.get_attr("IFLA_LINK") or 0,
    )


def _own_end(address: Any) -> str:
    # Of a link with one peer, ADDRESS is the peer and LOCAL our own end; IPv6 mostly has ADDRESS only.
    return str(address.get_attr("IFA_LOCAL") or address.get_attr("IFA_ADDRESS"))


def _as_route(route: Any, names: Mapping[int, str]) -> Route:
    destination = f"{route.get_attr('RTA_DST')}/{route['dst_len']}" if route["dst_len"] else "default"
    return Route(destination, route.get_attr("RTA_GATEWAY") or "", names.get(route.get_attr("RTA_OIF") or 0, ""))


# -- making -----------------------------------------------------------------------------------------------------------


def random_mac() -> str:
    """A MAC address that belongs to no manufacturer: unicast, locally administered."""
    first, *rest = os.urandom(6)
    return ":".join(f"{byte:02x}" for byte in [first & 0xFC | 0x02, *rest])


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a link. Raises InputError."""
    # Netlink holds text only, though a file's name may be any bytes.
    encoded = b"" if any("\ud800" <= c <= "\udfff" for c in name) else name.encode()
    # The kernel puts a number in the place of %d, and takes byte 160 for a space, which is in à.
    if not 0 < len(encoded) <= LONGEST_NAME or name in (".", "..") or any(byte in b"/:% \t\n\v\f\r\xa0" for byte in encoded):
        raise InputError(f"{name!r} cannot name a link", f"use 1 to {LONGEST_NAME} letters, digits and '-', '_', '.'")


def new_veth(name: str, address: str, peer: str, pid: int, master: int = 0) -> Message:
    """A virtual cable: one end here, up; the other in the network namespace of `pid`, still down.  veth(4)"""
    # The kernel makes the far end first, and does not switch on an end that has no other yet.
    far_end: dict[str, Any] = {"attrs": [("IFLA_IFNAME", peer), ("IFLA_NET_NS_PID", pid)]}
    info = {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", far_end)]})]}
    attributes: list[tuple[str, Any]] = [("IFLA_IFNAME", name), ("IFLA_ADDRESS", address), ("IFLA_LINKINFO", info)]
    shown: dict[str, Any] = {"ifname": name, "kind": "veth", "address": address, "peer": peer, "peer_netns": pid}
    if master:
        attributes.append(("IFLA_MASTER", master))
        shown["master"] = master
    return Message("RTM_NEWLINK", shown, _switched_on(), attributes, CREATE)


def new_bridge(name: str, address: str) -> Message:
    """A switch that other links can be plugged into, up.  ip-link(8)"""
    info = {"attrs": [("IFLA_INFO_KIND", "bridge")]}
    attributes = [("IFLA_IFNAME", name), ("IFLA_ADDRESS", address), ("IFLA_LINKINFO", info)]
    return Message("RTM_NEWLINK", {"ifname": name, "kind": "bridge", "address": address}, _switched_on(), attributes, CREATE)


def set_up(index: int) -> Message:
    """Switch a link on.  netdevice(7)"""
    return Message("RTM_NEWLINK", {"index": index, "flags": Bare("UP")}, _switched_on(index), [], CHANGE)


def del_link(index: int) -> Message:
    """Remove a link; of a veth, the other end goes with it.  ip-link(8)"""
    return Message("RTM_DELLINK", {"index": index}, {"index": index}, [], CHANGE)


def new_address(index: int, address: str) -> Message:
    """Give a link an address such as 172.22.0.1/24; the route to its subnet comes with it.  ip-address(8)"""
    ip, family, length = _split(address)
    fields = {"family": family, "index": index, "prefixlen": length}
    return Message("RTM_NEWADDR", {"index": index, "address": address}, fields, [("IFA_LOCAL", ip), ("IFA_ADDRESS", ip)], CREATE)


def new_route(gateway: str, destination: str = "default") -> Message:
    """Send what goes to `destination` by way of `gateway`, which must be on a subnet of ours.  ip-route(8)"""
    any_destination = "::/0" if ":" in gateway else "0.0.0.0/0"
    ip, family, length = _split(any_destination if destination == "default" else destination)
    fields = {"family": family, "dst_len": length, "table": RT_TABLE_MAIN, "proto": RTPROT_BOOT, "type": RTN_UNICAST}
    attributes = [("RTA_GATEWAY", gateway)] + ([("RTA_DST", ip)] if length else [])
    return Message("RTM_NEWROUTE", {"dst": destination, "gateway": gateway}, fields, attributes, CREATE)


def _switched_on(index: int = 0) -> dict[str, int]:
    # `change` says which of the flags are meant; the kernel leaves the others alone.
    return {"index": index, "flags": IFF_UP, "change": IFF_UP}


def _split(address: str) -> tuple[str, int, int]:
    """10.0.0.1/8 → 10.0.0.1, AF_INET, 8. Without a prefix, all bits count."""
    ip, _, length = address.partition("/")
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    return ip, family, int(length or (128 if family == socket.AF_INET6 else 32))


def preload() -> None:
    """Import what encoding needs. An agent must do so while it still can: after `pivot` Python's own files are gone."""
    rtnetlink.classes()


# -- other network namespaces -----------------------------------------------------------------------------------------


def in_netns(netns: int | str, act: Callable[[], R]) -> R:
    """Do `act` in the network namespace of a process, or behind a path, and come back with its result.  setns(2)

    A socket that `act` makes stays in the namespace it was made in, wherever it is used.
    """
    return in_namespace(f"/proc/{netns}/ns/net" if isinstance(netns, int) else netns, Clone.NEWNET, act)


# -- taking back ------------------------------------------------------------------------------------------------------


def remove_link(name: str, address: str) -> None:
    """Remove a link if its MAC address is the one that we drew for it. It may be gone already.  ip-link(8)"""
    try:
        link = rtnetlink.get("LINK", {}, [("IFLA_IFNAME", name)])
        if link.get_attr("IFLA_ADDRESS") == address and not _dies_soon(link):
            send(del_link(link["index"]))
    except KernelError as error:
        # Never made, or gone since we looked: a dying network namespace takes its links along.
        if error.errno != errno.ENODEV:
            raise


def _dies_soon(link: Any) -> bool:
    """Whether the kernel is about to remove a veth: it notes the death of a namespace 0.4 to 4 ms after its last process's."""
    for _ in range(20):
        if _is_dying(link):
            return True
        time.sleep(0.0003)
    return False


def _is_dying(link: Any) -> bool:
    """Whether the kernel is removing a veth already, because nobody is left in the namespace at its other end.

    To ask for the removal again would only be to wait for it, 20 ms.
    """
    far_namespace = link.get_attr("IFLA_LINK_NETNSID")  # a number for it that only this namespace uses
    if far_namespace is None or far_namespace < 0:
        return far_namespace is not None  # -1: too late to be given a number
    try:
        rtnetlink.get("LINK", {"index": LOOPBACK}, [("IFLA_IF_NETNSID", far_namespace)])
    except KernelError as error:
        return error.errno == errno.EINVAL  # nobody can look into it any more
    return False
