"""The network: a cable to the host, a way out through it, and ports of the host that lead in.

The host's part is one nftables table for each sandbox, which stands beside whatever firewall the host has. A packet passes
only if every table lets it, so a firewall of the host that drops what is forwarded must be told otherwise by its owner.
"""

import errno
import os
import socket
from ipaddress import IPv4Network
from typing import NamedTuple

from scratchlab import linux, shared
from scratchlab.errors import HostError, InputError, KernelError, StageError
from scratchlab.linux import netlink, nftables
from scratchlab.stages import portproxy
from scratchlab.stages.dns import host_nameservers, resolv
from scratchlab.stages.ports import EVERYWHERE, Port, note, parse_publish, reserve
from scratchlab.stages.stage import Target, inside, outside
from scratchlab.stages.subnets import claim_address, claim_subnet, parse_address, parse_interface, parse_network

__all__ = [
    "Port", "Wiring", "address", "bridge", "input_drop", "loopback", "nat", "parse_publish", "publish", "resolv", "route", "veth",
]  # fmt: skip

BACKENDS = ("nftables", "proxy")


class Wiring(NamedTuple):
    """How a sandbox is connected: names and addresses at both ends of its cable."""

    host_link: str  # the end on the host
    gateway_link: str  # what has the gateway's address: the same end, or the bridge that it is plugged into
    link: str  # the end in the sandbox
    subnet: str
    gateway: str
    address: str  # the sandbox's own


# -- in the process ---------------------------------------------------------------------------------------------------


@inside("netdevice(7)", "ip-link(8)", shell="ip link set lo up", engine="always", needs=("net",))
def loopback() -> None:
    """127.0.0.1 for your own processes: the loopback link, switched on.  netdevice(7)"""
    # The old way, an ioctl; netlink could do it too, but would be this container's only reason to load its encoders.
    linux.set_flags("lo", linux.InterfaceFlag.UP)


@inside("ip-address(8)", "rtnetlink(7)", shell="ip address add 172.22.0.2/24 dev eth0", engine="docker run --ip", needs=("net",))
def address(link: str, address: str) -> None:
    """An address on one of your links, and the route to its subnet.  ip-address(8)"""
    netlink.send(netlink.new_address(netlink.index_of(link), str(parse_interface(address))))


@inside(
    "ip-route(8)",
    "rtnetlink(7)",
    shell="ip route add default via 172.22.0.1",
    engine="docker network create --gateway",
    needs=("net",),
)
def route(gateway: str, destination: str = "default") -> None:
    """A way to where none of your links leads: by a neighbour that knows it.  ip-route(8)"""
    by, to = parse_address(gateway), parse_interface(destination).network if destination != "default" else None
    if to and to.version != by.version:
        raise InputError(f"{by} is of IPv{by.version}, and {to} of IPv{to.version}", "a gateway is of the same version")
    netlink.send(netlink.new_route(str(by), str(to or destination)))


# -- the cable --------------------------------------------------------------------------------------------------------


@outside(
    "veth(4)", "ip-link(8)", needs=("net",), engine="docker run --network bridge",
    shell="ip link add veth-web type veth peer name eth0 netns PID; ip address add 172.22.0.1/24 dev veth-web; …",
)  # fmt: skip
def veth(target: Target, subnet: str | None = None, inside: str = "eth0") -> Wiring:
    """A cable to the host, with an address at both ends: the host is your way out.  veth(4)"""
    network = claim_subnet(target.journal, subnet)
    host_link = _plug_in(target, inside)
    wiring = Wiring(host_link, host_link, inside, str(network), str(network[1]), str(network[2]))
    netlink.send(netlink.new_address(netlink.index_of(host_link), f"{wiring.gateway}/{network.prefixlen}"))
    _configure(target, wiring)
    return wiring


@outside(
    "veth(4)", "ip-link(8)", "bridge(8)", needs=("net",), engine="docker network create; docker run --network NAME",
    shell="ip link add scratchlab0 type bridge; ip link add veth-web master scratchlab0 type veth peer name eth0 netns PID; …",
)  # fmt: skip
def bridge(target: Target, name: str = "scratchlab0", subnet: str | None = None, inside: str = "eth0") -> Wiring:
    """A cable into a switch on the host: all sandboxes on it reach each other.  ip-link(8)"""
    netlink.check_name(name)
    wanted = parse_network(subnet) if subnet else None
    target.journal.will("bridge", name=name, holder=target.name)
    drawn = shared.hold_bridge(name, target.name, lambda: _draw_bridge(target, subnet), lambda drawn: _make_bridge(name, drawn))
    network = IPv4Network(drawn["subnet"])
    if wanted and wanted != network:
        raise InputError(
            f"the bridge {name} has the subnet {network}, not {subnet}", "leave the subnet out, or name another bridge"
        )
    own = claim_address(target.journal, network)
    wiring = Wiring(_plug_in(target, inside, netlink.index_of(name)), name, inside, str(network), str(network[1]), own)
    _configure(target, wiring)
    return wiring


def _plug_in(target: Target, inside: str, master: int = 0) -> str:
    """Make the cable; gives the name of its end on the host. Link names are short: another one where ours is taken."""
    netlink.check_name(inside)
    for name in (f"veth-{target.name}"[: netlink.LONGEST_NAME], f"veth-{os.urandom(5).hex()}"):
        mac = netlink.random_mac()
        target.journal.will("link", name=name, address=mac)
        try:
            netlink.send(netlink.new_veth(name, mac, inside, target.pid, master))
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise
            if inside in netlink.in_netns(target.pid, _link_names):
                raise StageError(f"{target.name} has a link {inside!r} already", "name another one: inside='eth1'") from None
            continue
        return name
    raise HostError(f"the host has links {f'veth-{target.name}'[: netlink.LONGEST_NAME]} and {name} already", "try again")


def _link_names() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def _configure(target: Target, wiring: Wiring) -> None:
    """The sandbox's end: addresses can only be set from within its network namespace."""
    prefix = IPv4Network(wiring.subnet).prefixlen

    def there() -> None:
        link = netlink.index_of(wiring.link)
        netlink.send(
            netlink.set_up(netlink.LOOPBACK),
            netlink.set_up(link),
            netlink.new_address(link, f"{wiring.address}/{prefix}"),
            netlink.new_route(wiring.gateway),  # last: a gateway must be on a subnet that is there
        )

    netlink.in_netns(target.pid, there)
    target.facts["veth"] = wiring._asdict()


def _draw_bridge(target: Target, subnet: str | None) -> dict[str, str]:
    return {"address": netlink.random_mac(), "subnet": str(claim_subnet(target.journal, subnet))}


def _make_bridge(name: str, drawn: dict[str, str]) -> None:
    """Make the bridge as it was drawn, or what is missing of it."""
    there = {link.name: link for link in netlink.links()}.get(name)
    if there and there.address != drawn["address"]:
        raise HostError(f"the host has a link {name} that is not ours", "name another bridge: bridge(name='lab0')")
    if not there:
        netlink.send(netlink.new_bridge(name, drawn["address"]))
    network = IPv4Network(drawn["subnet"])
    gateway = f"{network[1]}/{network.prefixlen}"
    if netlink.Address(name, gateway) not in netlink.addresses(socket.AF_INET):
        netlink.send(netlink.new_address(netlink.index_of(name), gateway))


# -- the way out, and the way in --------------------------------------------------------------------------------------


@outside(
    "nft(8)", "ip-sysctl(7)", needs=("net",), engine="docker run --network bridge",
    shell="sysctl -w net.ipv4.ip_forward=1; nft add rule ip TABLE postrouting ip saddr 172.22.0.0/24 masquerade",
)  # fmt: skip
def nat(target: Target) -> str:
    """Reach what the host reaches, under the host's own address; nothing new gets in.  nft(8)"""
    wiring = _wiring(target, "nat")
    table, comment = f"scratchlab-{target.name}", os.urandom(8).hex()
    target.journal.will("sysctl", key="net/ipv4/ip_forward", value="1", holder=target.name)
    shared.hold_sysctl("net/ipv4/ip_forward", "1", target.name)
    target.journal.will("nft_table", name=f"ip {table}", comment=comment)
    nftables.run(_nat_rules(table, comment, wiring))
    target.facts["nat"] = {"table": table}
    return table


def _nat_rules(table: str, comment: str, wiring: Wiring) -> str:
    link = wiring.gateway_link
    return f"""
create table ip {table} {{ comment "{comment}"; }}
add chain ip {table} guard {{ type filter hook prerouting priority raw; }}
add rule ip {table} guard iifname "{link}" ip daddr 127.0.0.0/8 drop
add rule ip {table} guard iifname "{link}" ip saddr 127.0.0.0/8 drop
add chain ip {table} forward {{ type filter hook forward priority filter; }}
add rule ip {table} forward oifname "{link}" ct state established,related accept
add rule ip {table} forward oifname "{link}" ct status dnat accept
add rule ip {table} forward oifname "{link}" drop
add chain ip {table} postrouting {{ type nat hook postrouting priority srcnat; }}
add rule ip {table} postrouting ip saddr {wiring.subnet} oifname != "{link}" masquerade
"""


@outside(
    "nft(8)", needs=("net",), engine="no engine has an option for it; a rule of your own in the chain INPUT",
    shell="nft add rule ip TABLE input iifname veth-web ct state new drop",
)  # fmt: skip
def input_drop(target: Target) -> str:
    """No service of the host for you, at any of its addresses; what the host itself begins goes on.  nft(8)"""
    wiring, table = _wiring(target, "input_drop"), f"scratchlab-{target.name}"
    made = []
    if "nat" not in target.facts:
        comment = os.urandom(8).hex()
        target.journal.will("nft_table", name=f"ip {table}", comment=comment)
        made = [f'create table ip {table} {{ comment "{comment}"; }}']
    nftables.run("\n".join([*made, *_input_rules(table, wiring)]))
    # The kernel gives both ends of a cable an IPv6 address, without being asked. The switch dies with the link.
    switch = f"/proc/sys/net/ipv6/conf/{wiring.gateway_link}/disable_ipv6"
    if os.path.exists(switch):
        linux.write_file(switch, "1")
    return table


def _input_rules(table: str, wiring: Wiring) -> list[str]:
    rule = f'add rule ip {table} input iifname "{wiring.gateway_link}"'
    # A name server that is the host itself, at an address other than 127.0.0.1, is one that the sandbox was told to ask.
    servers = [server for server in host_nameservers() if ":" not in server]
    return [
        f"add chain ip {table} input {{ type filter hook input priority filter; }}",
        f"{rule} ct state established,related accept",
        *(f"{rule} ip daddr {server} meta l4proto {{ tcp, udp }} th dport 53 accept" for server in servers),
        f"{rule} drop",
    ]


@outside(
    "nft(8)", "ip-sysctl(7)", "ip(7)", needs=("net",), engine="docker run --publish 8080:80",
    shell="nft add rule ip TABLE publish_in fib daddr type local tcp dport 8080 dnat to 172.22.0.2:80",
)  # fmt: skip
def publish(target: Target, spec: str | Port, by: str | None = None) -> Port:
    """A port of the host that leads to one of yours, by rules or by a process that copies.  nft(8)"""
    port = parse_publish(spec) if isinstance(spec, str) else Port(*spec)
    backend = by or ("nftables" if "nat" in target.facts else "proxy")
    if backend not in BACKENDS:
        raise InputError(f"cannot publish by {by!r}", f"choose one of {', '.join(BACKENDS)}")
    if backend == "nftables" and "nat" not in target.facts:
        raise StageError("publishing by nftables needs the sandbox's table", "apply nat first, or publish(by='proxy')")
    reserved = reserve(port)
    if backend == "proxy":
        where = target.facts["veth"]["address"] if "veth" in target.facts else "127.0.0.1"
        portproxy.start(target, port, reserved, where)
        reserved.close()  # the proxy has its own copy
    else:
        target.journal.keep(reserved)
        _publish_by_rules(target, port)
    note(target, port)
    return port


def _publish_by_rules(target: Target, port: Port) -> None:
    wiring, table = _wiring(target, "publish"), target.facts["nat"]["table"]
    # From 127.0.0.1 the kernel sends nothing over a link but loopback, unless the link allows it. It dies with the link; and
    # what comes in by it for 127.0.0.0/8, CVE-2020-8558, the chain `guard` of nat() drops.
    linux.write_file(f"/proc/sys/net/ipv4/conf/{wiring.gateway_link}/route_localnet", "1")
    nftables.run(_publish_rules(table, wiring, port))


def _publish_rules(table: str, wiring: Wiring, port: Port) -> str:
    meant = "fib daddr type local" if port.ip == EVERYWHERE else f"ip daddr {port.ip}"
    translate = f"{meant} {port.protocol} dport {port.host} dnat to {wiring.address}:{port.container}"
    # publish_in: what comes from elsewhere. publish_out: what the host itself sends. Where the sender could not be answered
    # directly (it is 127.0.0.1, or on the cable itself), postrouting has the answer come back through the host.
    return f"""
add chain ip {table} publish_in {{ type nat hook prerouting priority dstnat; }}
add chain ip {table} publish_out {{ type nat hook output priority -100; }}
add rule ip {table} publish_in {translate}
add rule ip {table} publish_out {translate}
add rule ip {table} postrouting oifname "{wiring.gateway_link}" ip saddr 127.0.0.0/8 masquerade
add rule ip {table} postrouting oifname "{wiring.gateway_link}" ip saddr {wiring.subnet} ct status dnat masquerade
"""


def _wiring(target: Target, stage: str) -> Wiring:
    if "veth" not in target.facts:
        raise StageError(f"{stage} needs a cable to the sandbox", "apply veth or bridge first")
    return Wiring(**target.facts["veth"])
