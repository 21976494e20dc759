"""The network: names and addresses that are taken or missing, links that are down, ports that somebody has.  ip(7)"""

import os
import re
import socket

from scratchlab.errors import facts
from scratchlab.errors.cause import Asked, Cause


def _links() -> list[str]:
    try:
        return [name for _, name in socket.if_nameindex()]
    except OSError:
        return []


def no_such_link(asked: Asked) -> Cause | None:
    """ENODEV: no link of that name or number in this network namespace."""
    name = asked.text("ifr_name") or asked.text("name") or asked.text("index")
    if asked.call not in ("ioctl", "sendmsg", "bind") or not name:
        return None
    return Cause(
        f"there is no link {name} in this network namespace, which has: {', '.join(_links()) or 'none'}",
        "ip -brief link",
        "netdevice(7)",
    )


def name_taken(asked: Asked) -> Cause | None:
    """EEXIST: a link, an address or a route that is there already."""
    if asked.call != "sendmsg":
        return None
    if asked.text("message") == "RTM_NEWADDR":
        return Cause(f"this link has the address {asked.text('address')} already", "ip -brief address", "rtnetlink(7)")
    if asked.text("message") == "RTM_NEWROUTE":
        return Cause(f"there is a route to {asked.text('dst')} already", "ip route", "rtnetlink(7)")
    taken = [link for link in _links() if link in map(asked.text, asked.arguments)]
    said = ", ".join(taken) or "asked for (in this network namespace, or in that of the other end)"
    return Cause(f"the name {said} is taken by another link", "ip -brief link", "rtnetlink(7)")


def no_way_there(asked: Asked) -> Cause | None:
    """ENETUNREACH and EHOSTUNREACH: no route, or no link that is up."""
    routes = facts.text("/proc/self/net/route").splitlines()[1:]
    gateways = f"the gateway {asked.text('gateway')} is on no subnet of ours. " if asked.call == "sendmsg" else ""
    down = [name for name in _links() if facts.text(f"/sys/class/net/{name}/operstate") == "down"]
    links = f"links that are down: {', '.join(down)}" if down else f"links: {', '.join(_links())}"
    return Cause(
        f"{gateways}This network namespace has {len(routes)} routes; {links}", "ip route; ip -brief address", "ip-route(8)"
    )


# -- ports ------------------------------------------------------------------------------------------------------------


def _address(asked: Asked) -> tuple[str, int]:
    """Of an `addr` such as 127.0.0.1:80 or ('127.0.0.1', 80): the host and the port. Raises ValueError."""
    found = re.fullmatch(r"\W*?([\w.:*-]*?)\W*(\d+)\D*", asked.text("addr"))
    if not found:
        raise ValueError(asked.text("addr"))
    return found[1], int(found[2])


def port_taken(asked: Asked) -> Cause | None:
    """EADDRINUSE: which process listens there."""
    path = asked.text("addr").strip("'\"")
    if path.startswith("/"):
        return Cause(
            f"{path} exists already: a socket's file stays when its owner ends. Remove it first", f"ls -l {path}", "unix(7)"
        )
    _, port = _address(asked)
    return _holder_of(port)


def _holder_of(port: int) -> Cause:
    check, sockets = f"ss -tanup sport = :{port}", facts.sockets_on(port)
    if not sockets and os.path.exists("/proc/self/net/tcp"):
        return Cause(f"port {port} was taken, and is free by now", check, "ip(7)")
    if sockets and all(socket.state == facts.TIME_WAIT for socket in sockets):
        return Cause(
            f"a connection on port {port} was closed a moment ago, and the kernel keeps the port for a minute: set SO_REUSEADDR",
            check,
            "socket(7)",
        )
    holders = facts.holders(socket.link for socket in sockets)
    said = f"by {facts.named(holders[:3])}" if holders else "by a process that cannot be seen from here"
    return Cause(f"port {port} is taken {said}", check, "ip(7)")


def no_such_address(asked: Asked) -> Cause | None:
    """EADDRNOTAVAIL: an address of no link here."""
    host, _ = _address(asked)
    return Cause(f"no link of this network namespace has the address {host}", "ip -brief address", "ip(7)")


def low_port(asked: Asked) -> Cause | None:
    """EACCES of bind: the first 1024 ports are root's."""
    _, port = _address(asked)
    first = facts.sysctl("net.ipv4.ip_unprivileged_port_start")
    if not first.isdecimal() or port >= int(first) or facts.has_capability("CAP_NET_BIND_SERVICE"):
        return None
    return Cause(
        f"ports below {first} need CAP_NET_BIND_SERVICE, which {facts.who()} lacks here",
        "sysctl net.ipv4.ip_unprivileged_port_start",
        "ip(7)",
    )


def nobody_listens(asked: Asked) -> Cause | None:
    """ECONNREFUSED: the host is there, and nobody behind the port."""
    path = asked.text("addr").strip("'\"")
    if path.startswith("/"):
        return Cause(f"{path} is a socket that nobody listens on any more", f"ss -xlp | grep {path}", "unix(7)")
    host, port = _address(asked)
    # Of another machine, we can only say what it said.
    if not host.startswith("127.") and host not in ("localhost", "::1", "0.0.0.0"):
        return Cause(f"{host} answers, and nobody listens on its port {port}", f"nc -vz {host} {port}", "connect(2)")
    return Cause(f"nobody listens on port {port} in this network namespace", "ss -ltnp", "connect(2)")


def no_such_socket(asked: Asked) -> Cause | None:
    """ENOENT of connect: a socket's file that is not there."""
    path = asked.text("addr").strip("'\"")
    return (
        Cause(f"there is no socket {path}", f"ls -l {path}", "unix(7)")
        if path.startswith("/") and not os.path.exists(path)
        else None
    )
