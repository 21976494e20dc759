"""The network: links, rules and ways out, in a network namespace that is thrown away.  network_namespaces(7)"""

import fcntl
import os
import struct
from collections.abc import Callable

from scratchlab import linux, stages
from scratchlab.doctor.attempt import Attempt, apart, ordinary, own_user_namespace, settled
from scratchlab.linux import Clone, netlink, nftables

_TUNSETIFF, _IFF_TAP_NO_PI = 0x400454CA, 0x1002  # linux/if_tun.h


def _veth() -> None:
    apart(Clone.NEWNET)
    netlink.send(netlink.new_veth("veth", netlink.random_mac(), "eth0", os.getpid()))
    index = netlink.index_of("eth0")
    netlink.send(netlink.set_up(netlink.index_of("veth")), netlink.set_up(index), netlink.new_address(index, "172.22.0.2/24"))
    netlink.send(netlink.new_route("172.22.0.1"))


def _bridge() -> None:
    apart(Clone.NEWNET)
    netlink.send(netlink.new_bridge("bridge", netlink.random_mac()))


# A little of all that nat, publish and input_drop need.
_RULES = """
add table ip scratchlab
add chain ip scratchlab out { type nat hook output priority -100; }
add rule ip scratchlab out fib daddr type local tcp dport 8080 dnat to 172.22.0.2:80
add chain ip scratchlab post { type nat hook postrouting priority srcnat; }
add rule ip scratchlab post ip saddr 172.22.0.0/24 masquerade
add chain ip scratchlab input { type filter hook input priority filter; }
add rule ip scratchlab input iifname "veth" ct state new drop
"""


def _nftables() -> None:
    apart(Clone.NEWNET)
    nftables.run(_RULES)


def _forwarding() -> None:
    apart(Clone.NEWNET)
    linux.write_file("/proc/sys/net/ipv4/ip_forward", "1")  # this network namespace's own switch


def _tap() -> None:
    ordinary()
    apart(Clone.NEWNET)
    with open("/dev/net/tun", "r+b", buffering=0) as tun:
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", b"tap0", _IFF_TAP_NO_PI))


def _for_ordinary_users(stage: Callable[..., object]) -> Callable[[], None]:
    """Have a program carry the network of a process in namespaces of its own, as for an ordinary user's container."""

    def act() -> None:
        ordinary()
        with settled(lambda: own_user_namespace(Clone.NEWNET)) as target:
            stage(target)

    return act


ATTEMPTS = [
    Attempt("veth, addresses and routes", _veth, ("veth", "address", "route"), (9,), "as root: modprobe veth; or --network none"),
    Attempt("bridge", _bridge, ("bridge",), (10,), "as root: modprobe bridge; or use veth, which needs none"),
    Attempt(
        "packet filter and NAT (nftables)", _nftables, ("nat", "publish", "input_drop"), (10,),
        "or leave out nat and input_drop: a process then carries published ports",
    ),
    Attempt(
        "IP forwarding", _forwarding, ("nat", "publish"), (10,),
        "in a container, its engine mounts /proc/sys read-only: ask it not to",
    ),
    Attempt(
        "TAP device for rootless networks", _tap, ("pasta", "slirp4netns"), (8, 9),
        "as root: modprobe tun, chmod 666 /dev/net/tun; or --network none", needed=False,
    ),
    Attempt(
        "pasta", _for_ordinary_users(stages.pasta), ("pasta",), (8, 9),
        "apt install passt; or slirp4netns, which does for it", needed=False,
    ),
    Attempt(
        "slirp4netns", _for_ordinary_users(stages.slirp4netns), ("slirp4netns",), (8, 9),
        "apt install slirp4netns; or pasta, which is better", needed=False,
    ),
]  # fmt: skip
