"""Links, addresses and routes, against ip(8) and against the kernel's own rules about them."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from scratchlab import linux
from scratchlab.errors import KernelError
from scratchlab.linux import netlink
from tests.conftest import in_child, needs_root

pytestmark = needs_root


def alone(act: Callable[[], Any]) -> Any:
    """Do `act` in a child with a network of its own."""

    def there() -> Any:
        linux.unshare(linux.Clone.NEWNET)
        return act()

    return in_child(there)


def neighbour() -> int:
    """A process in another new network namespace; gives its pid. It ends with the caller."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        linux.prctl(linux.Prctl.SET_PDEATHSIG, signal.SIGKILL)
        linux.unshare(linux.Clone.NEWNET)
        os.write(writer, b"!")
        signal.pause()
    os.read(reader, 1)
    return pid


def ip(*words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(subprocess.run(["ip", "-json", *words], capture_output=True, check=True).stdout)
    return found


def cable(pid: int, mac: str = "02:00:00:00:00:01") -> None:
    netlink.send(netlink.new_veth("veth-a", mac, "eth0", pid))
    netlink.send(netlink.new_address(netlink.index_of("veth-a"), "10.9.0.1/24"), netlink.new_route("10.9.0.2", "10.10.0.0/16"))


def test_links_addresses_and_routes_are_those_that_ip_shows() -> None:
    def look() -> None:
        cable(neighbour())

        assert [(one.name, one.index, one.address, one.mtu) for one in netlink.links()] == [
            (one["ifname"], one["ifindex"], one["address"], one["mtu"]) for one in ip("link")
        ]
        assert [one.up for one in netlink.links()] == ["UP" in one["flags"] for one in ip("link")]
        shown = [f"{a['local']}/{a['prefixlen']}" for link in ip("-4", "address") for a in link["addr_info"]]
        assert [one.address for one in netlink.addresses(socket.AF_INET)] == shown
        shown_routes = sorted((one["dst"], one.get("gateway", ""), one["dev"]) for one in ip("-4", "route"))
        assert [tuple(one) for one in netlink.routes(socket.AF_INET)] == shown_routes

    alone(look)


def test_a_default_route_and_ipv6_are_understood() -> None:
    def look() -> None:
        cable(neighbour())
        netlink.send(netlink.new_address(netlink.index_of("veth-a"), "fd00:9::1/64"), netlink.new_route("10.9.0.2"))

        assert netlink.Route("default", "10.9.0.2", "veth-a") in netlink.routes()
        assert netlink.Address("veth-a", "fd00:9::1/64") in netlink.addresses()

    alone(look)


def test_a_port_of_a_bridge_names_its_master() -> None:
    def look() -> None:
        netlink.send(netlink.new_bridge("br", netlink.random_mac()))
        netlink.send(netlink.new_veth("veth-a", netlink.random_mac(), "eth0", neighbour(), netlink.index_of("br")))

        assert {one.name: (one.kind, one.master) for one in netlink.links()} == {
            "lo": ("", ""), "br": ("bridge", ""), "veth-a": ("veth", "br"),
        }  # fmt: skip

    alone(look)


def test_a_batch_is_one_line_in_the_ledger_for_each_message() -> None:
    def look() -> list[str]:
        with linux.recording() as calls:
            netlink.send(netlink.set_up(1), netlink.new_address(1, "10.1.1.1/32"))
        return [str(call) for call in calls]

    assert alone(look) == [
        "sendmsg(message=RTM_NEWLINK, index=1, flags=UP) = 0",
        'sendmsg(message=RTM_NEWADDR, index=1, address="10.1.1.1/32") = 0',
    ]


def test_the_first_error_of_a_batch_is_raised_and_the_rest_is_done_all_the_same() -> None:
    def look() -> list[str]:
        with pytest.raises(KernelError) as raised:
            netlink.send(netlink.new_route("9.9.9.9"), netlink.set_up(1), netlink.set_up(99))
        return [str(raised.value), *(link.name for link in netlink.links() if link.up)]

    message, *up = alone(look)

    assert message.startswith(
        'sendmsg(message=RTM_NEWROUTE, dst="default", gateway="9.9.9.9"): Network is unreachable (ENETUNREACH)\n'
        "  hint: the kernel says: Nexthop has invalid gateway; the gateway 9.9.9.9 is on no subnet of ours"
    )
    assert up == ["lo"]


def test_a_link_that_is_not_there_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(KernelError, match="the links here: lo"):
        alone(lambda: netlink.index_of("eth7"))


def test_a_link_is_removed_only_if_it_has_the_address_that_we_drew() -> None:
    def look() -> list[list[str]]:
        cable(neighbour(), mac="02:00:00:00:00:01")
        seen = []
        for mac in ("02:00:00:00:00:02", "02:00:00:00:00:01", "02:00:00:00:00:01"):
            netlink.remove_link("veth-a", mac)
            seen.append([link.name for link in netlink.links()])
        return seen

    assert alone(look) == [["lo", "veth-a"], ["lo"], ["lo"]]


def test_a_link_whose_other_end_has_died_goes_by_itself() -> None:
    def look() -> None:
        pid = neighbour()
        cable(pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

        netlink.remove_link("veth-a", "02:00:00:00:00:01")

        while "veth-a" in {link.name for link in netlink.links()}:
            pass

    alone(look)


def test_what_is_done_in_another_network_namespace_leaves_the_caller_where_it_is() -> None:
    def look() -> None:
        pid = neighbour()
        before = os.readlink("/proc/thread-self/ns/net")

        there = netlink.in_netns(pid, lambda: os.readlink("/proc/thread-self/ns/net"))

        assert there == os.readlink(f"/proc/{pid}/ns/net") != before
        assert os.readlink("/proc/thread-self/ns/net") == before

    alone(look)


def test_an_error_in_another_network_namespace_is_raised_here() -> None:
    with pytest.raises(KernelError, match="ENODEV"):
        alone(lambda: netlink.in_netns("/proc/self/ns/net", lambda: netlink.index_of("eth7")))
    with pytest.raises(KernelError, match="ENOENT"):
        netlink.in_netns("/proc/1/ns/none", lambda: None)


def test_random_macs_are_unicast_and_locally_administered() -> None:
    macs = {netlink.random_mac() for _ in range(100)}

    assert len(macs) == 100
    assert {int(mac[:2], 16) & 3 for mac in macs} == {2}


def python(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_the_users_own_pyroute2_still_works_after_us() -> None:
    ours = (
        "from scratchlab.linux import netlink; ours = len(netlink.links()); import sys; clean = 'pyroute2' not in sys.modules\n"
    )
    theirs = "import pyroute2\nwith pyroute2.IPRoute() as route: print(clean, ours == len(list(route.link('dump'))))"

    assert python(ours + theirs) == "True True"


def test_a_pyroute2_that_is_imported_already_is_used() -> None:
    assert python("import pyroute2; from scratchlab.linux import netlink; print(netlink.links()[0].name)") == "lo"


def test_netlink_brings_no_event_loop() -> None:
    assert python("from scratchlab.linux import netlink; netlink.links(); import sys; print('asyncio' in sys.modules)") == "False"
