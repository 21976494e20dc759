"""Bridge, NAT and published ports: what many believe, and experiments that refute it."""

from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.lessons.hosts import street
from scratchlab.lessons.network import ask, listen, plug_in
from scratchlab.linux import netlink, nftables
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step, unshare_net

_WEB, _HOST = "198.51.100.2", "203.0.113.1"


def _masquerade() -> None:
    nftables.run("""
        create table ip hidden
        add chain ip hidden leaving { type nat hook postrouting priority srcnat; }
        add rule ip hidden leaving ip saddr 198.51.100.0/24 masquerade
    """)


def _publish_arriving() -> None:
    nftables.run("""
        create table ip published
        add chain ip published arriving { type nat hook prerouting priority dstnat; }
        add rule ip published arriving fib daddr type local tcp dport 8080 dnat to 198.51.100.2:80
    """)


def _asked(box: Sandbox, address: str, port: int) -> str:
    return str(box.play([step(ask, address, port)])[0]["value"])


def friend_reaches_web_behind_nat() -> bool:
    """Masquerade what leaves a network, and ask for a way in."""
    with street() as (web, host, friend):
        web.play([step(listen, 80)])
        host.play([step(_masquerade)])
        return _asked(friend, _WEB, 80) == "203.0.113.2"


def published_without_a_server() -> str:
    """Publish a port of a container in which nobody listens, and ask."""
    with street() as (_, host, friend):
        host.play([step(_publish_arriving)])
        return _asked(friend, _HOST, 8080)


def host_asks_what_arriving_packets_get() -> bool:
    """Publish at the hook prerouting: another machine gets an answer. Does the host?"""
    with street() as (web, host, friend):
        web.play([step(listen, 80)])
        host.play([step(_publish_arriving)])
        assert "." in _asked(friend, _HOST, 8080), "the port is not even published for the machine next door"
        return "." in _asked(host, _HOST, 8080)


def bridge_without_an_address() -> bool:
    """Plug two networks into a bridge that has no address, in a third one, and let them talk."""
    with Sandbox("first") as first, Sandbox("switch") as switch, Sandbox("second") as second:
        for box in (first, switch, second):
            box.play([step(unshare_net)])
        switch.play([step(_switch, [first.pid, second.pid])])
        first.play([step(plug_in, "eth0", "198.51.100.1/24"), step(listen, 80)])
        second.play([step(plug_in, "eth0", "198.51.100.2/24")])
        return "." in _asked(second, "198.51.100.1", 80)


def _switch(pids: list[int]) -> None:
    netlink.send(netlink.new_bridge("switch", netlink.random_mac()))
    for number, pid in enumerate(pids):
        netlink.send(netlink.new_veth(f"port{number}", netlink.random_mac(), "eth0", pid, netlink.index_of("switch")))


BELIEFS = {
    "nat-is-a-firewall": Belief(
        "What is behind NAT cannot be reached from outside.",
        "A host masquerades what a container sends, and has no other rule. A machine next door sends to the container's own "
        "address, by way of the host. Does it get an answer?",
        {"no, NAT hides it": False, "yes": True},
        friend_reaches_web_behind_nat,
    ),
    "publishing-opens-a-port": Belief(
        "To publish a port opens it in the container.",
        "Port 8080 of the host leads to port 80 of a container, where no program listens. What does a caller get?",
        {"a connection, for the port is open": "", "ECONNREFUSED, from inside": "ECONNREFUSED"},
        published_without_a_server,
    ),
    "published-is-published": Belief(
        "A port that other machines reach can be reached from the host, too.",
        "A rule at the hook prerouting leads port 8080 into a container. Machines next door get an answer. Does the host itself?",
        {"yes": True, "no": False},
        host_asks_what_arriving_packets_get,
    ),
    "a-bridge-needs-an-address": Belief(
        "A bridge works with the address that it has.",
        "Two containers are plugged into a bridge that has no address at all. Do they reach each other?",
        {"no, the bridge is their gateway": False, "yes, a switch has no need of addresses": True},
        bridge_without_an_address,
    ),
}  # fmt: skip
