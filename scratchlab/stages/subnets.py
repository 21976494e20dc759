"""Finding a subnet that nobody uses, and keeping it: searched among the host's routes, then claimed by name."""

import ipaddress
import socket
from ipaddress import IPv4Network

from scratchlab.errors import HostError, InputError
from scratchlab.journal import Journal
from scratchlab.linux import netlink
from scratchlab.stages.claims import claim

POOL = IPv4Network("172.22.0.0/16")
PREFIX = 24


def claim_subnet(journal: Journal, wanted: str | None = None) -> IPv4Network:
    """Reserve a subnet: `wanted`, or the first free one of 172.22.0.0/16. Raises HostError if it is taken."""
    used = _used()
    for network in [parse_network(wanted)] if wanted else POOL.subnets(new_prefix=PREFIX):
        if not any(network.overlaps(other) for other in used) and claim(journal, str(network)):
            return network
    if wanted:
        raise HostError(f"the subnet {wanted} overlaps one that this host uses", "see `ip route`, or leave the choice to us")
    raise HostError(f"no subnet of {POOL} is free", "name another one: veth(subnet='10.77.0.0/24'); or run `scratchlab clean`")


def claim_address(journal: Journal, network: IPv4Network) -> str:
    """Reserve an address of a subnet that several sandboxes share; the first one belongs to the bridge."""
    for number in range(2, network.num_addresses - 1):
        if claim(journal, str(network[number])):
            return str(network[number])
    raise HostError(f"no address of {network} is free", "use a second bridge")


def _used() -> list[IPv4Network]:
    """What the host routes somewhere, but for its default route, and what its links have as addresses."""
    routed = [route.destination for route in netlink.routes(socket.AF_INET) if route.destination != "default"]
    own = [address.address for address in netlink.addresses(socket.AF_INET)]
    return [IPv4Network(text, strict=False) for text in {*routed, *own}]


def parse_network(text: str) -> IPv4Network:
    """Read a subnet with room for two ends of a cable, 10.77.0.0/24. Raises InputError."""
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise InputError(f"{text!r} is not a subnet: {error}", "write it as 10.77.0.0/24") from None
    if network.prefixlen > 30:
        raise InputError(f"{network} has no room for two ends of a cable", "take a /30 or wider")
    return network


def parse_interface(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    """Read an address with its prefix, 172.22.0.2/24. Raises InputError."""
    try:
        return ipaddress.ip_interface(text)
    except ValueError:
        raise InputError(f"{text!r} is not an address", "write it with its prefix, as 172.22.0.2/24") from None


def parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Read an address without a prefix, 172.22.0.1. Raises InputError."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise InputError(f"{text!r} is not an address", "write it as 172.22.0.1") from None
