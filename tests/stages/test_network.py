"""Cables, routes, NAT: real packets between real network namespaces."""

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scratchlab import journal, linux, shared
from scratchlab.errors import HostError, InputError, KernelError, StageError
from scratchlab.linux import netlink, nftables
from scratchlab.stages import address, bridge, loopback, nat, publish, route, veth
from scratchlab.stages.stage import Step, perform, step
from tests.conftest import in_child, needs, needs_root
from tests.stages.network_lab import Box, beyond, client, connected, machine, meet, refused, server

pytestmark = [needs_root, needs(nftables.available(), "needs libnftables: apt install nftables")]


def ip(*words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(subprocess.run(["ip", "-json", *words], capture_output=True, check=True).stdout)
    return found


def sysctl(name: str) -> str:
    return Path("/proc/sys/net/ipv4", name).read_text().strip()


# -- inside -----------------------------------------------------------------------------------------------------------


def test_a_new_network_has_a_loopback_only_after_it_is_switched_on() -> None:
    def there() -> tuple[bool, bool]:
        linux.unshare(linux.Clone.NEWNET)
        before = refused(meet_self)
        loopback()
        return before, refused(meet_self)

    def meet_self() -> socket.socket:
        listener = server(8080)
        meet(listener, client("127.0.0.1", 8080))
        return listener

    assert in_child(there) == (True, False)


def test_addresses_and_routes_are_those_that_ip_shows() -> None:
    def there() -> None:
        linux.unshare(linux.Clone.NEWNET)
        loopback()
        address("lo", "10.5.0.1/24")
        route("10.5.0.2", "10.6.0.0/16")
        route("10.5.0.3")

        assert "10.5.0.1" in {entry["local"] for entry in ip("address")[0]["addr_info"]}
        assert [(entry["dst"], entry["gateway"]) for entry in ip("route")] == [
            ("default", "10.5.0.3"),
            ("10.6.0.0/16", "10.5.0.2"),
        ]

    in_child(there)


@pytest.mark.parametrize("wrong", [step(address, "lo", "ten"), step(route, "10.0.0.0/8"), step(route, "10.0.0.1", "nowhere")])
def test_what_is_no_address_is_an_input_error(wrong: Step) -> None:
    with pytest.raises(InputError, match="is not an address"):
        perform(wrong)


def test_a_gateway_that_no_link_reaches_is_refused_in_the_kernels_words() -> None:
    def there() -> None:
        linux.unshare(linux.Clone.NEWNET)
        route("10.5.0.3")

    with pytest.raises(KernelError, match="the kernel says: Nexthop has invalid gateway"):
        in_child(there)


# -- cables -----------------------------------------------------------------------------------------------------------


def test_a_cable_has_an_address_at_both_ends_and_a_way_out() -> None:
    def there() -> None:
        box = Box("web")
        wiring = veth(box.target)

        assert wiring == ("veth-web", "veth-web", "eth0", "172.22.0.0/24", "172.22.0.1", "172.22.0.2")
        assert box.target.facts["veth"] == wiring._asdict()
        assert [(one["ifname"], one["operstate"]) for one in ip("link")][1:] == [("veth-web", "UP")]
        assert [(a.link, a.address) for a in box.inside(netlink.addresses)][:2] == [
            ("lo", "127.0.0.1/8"),
            ("eth0", "172.22.0.2/24"),
        ]
        assert ("default", "172.22.0.1", "eth0") in box.inside(netlink.routes)
        assert meet(box.inside(server), client("172.22.0.2", 80)) == "172.22.0.1"

        box.end()
        assert not shared.claimed("172.22.0.0/24")

    machine(there)


def test_a_subnet_that_the_host_uses_is_not_taken() -> None:
    def there() -> list[str]:
        netlink.send(netlink.new_address(1, "172.22.0.77/25"))
        netlink.send(netlink.new_bridge("other", netlink.random_mac()))
        netlink.send(netlink.new_address(netlink.index_of("other"), "172.22.1.9/30"))
        netlink.send(netlink.new_route("172.22.1.10", "172.22.2.0/23"))
        return [veth(Box(name).target).subnet for name in ("web", "web")]

    assert machine(there) == ["172.22.4.0/24", "172.22.5.0/24"]


def test_a_subnet_can_be_named_and_must_be_one_that_is_free() -> None:
    def there() -> None:
        box = Box()
        for text in ("10.1.2.3/24", "ten", "10.0.0.0/31"):
            with pytest.raises(InputError):
                veth(box.target, text)

        assert veth(box.target, "10.77.0.0/28").address == "10.77.0.2"
        with pytest.raises(HostError, match="overlaps one that this host uses"):
            veth(Box("other").target, "10.77.0.0/24")

    machine(there)


def test_names_that_are_cut_to_the_same_are_not_in_each_others_way() -> None:
    def there() -> list[str]:
        return [veth(Box("a-container-with-a-long-name").target).host_link for _ in range(3)]

    first, *others = machine(there)

    assert first == "veth-a-containe"
    assert len({first, *others}) == 3 and all(name.startswith("veth-") and len(name) <= 15 for name in others)


def test_a_link_name_that_the_sandbox_has_already_is_said() -> None:
    def there() -> None:
        box = Box()
        veth(box.target)
        veth(box.target)

    with pytest.raises(StageError, match="web has a link 'eth0' already"):
        machine(there)


def test_thirty_at_once_get_thirty_subnets_and_leave_none() -> None:
    def there() -> None:
        reader, writer = os.pipe()
        go_reader, go_writer = os.pipe()
        children = []
        for _ in range(30):
            if (pid := os.fork()) == 0:
                os.close(go_writer)  # first, or the box's process would hold it open
                box = Box("crowd")
                os.write(writer, veth(box.target).subnet.encode() + b"\n")
                os.read(go_reader, 1)  # end of file: all have one
                box.end()
                os._exit(0)
            children.append(pid)
        os.close(writer)
        subnets = _lines(reader, 30)
        os.close(go_writer)

        assert len(set(subnets)) == 30
        assert {os.waitpid(pid, 0)[1] for pid in children} == {0}
        assert [*(shared.run_directory() / "claims").iterdir(), *journal.journals()] == []

    machine(there)


def _lines(fd: int, count: int) -> list[str]:
    with open(fd) as stream:
        return [stream.readline() for _ in range(count)]


def test_boxes_on_one_bridge_reach_each_other_and_the_last_one_takes_it_away() -> None:
    def there() -> None:
        one, two = Box("one"), Box("two")
        first, second = bridge(one.target, "lab0"), bridge(two.target, "lab0")

        assert (first.subnet, first.address, second.address) == (second.subnet, "172.22.0.2", "172.22.0.3")
        assert {link.name: link.master for link in netlink.links()} == {
            "lo": "",
            "lab0": "",
            "veth-one": "lab0",
            "veth-two": "lab0",
        }
        assert meet(two.inside(server), one.inside(lambda: client("172.22.0.3", 80))) == "172.22.0.2"
        with pytest.raises(InputError, match="has the subnet"):
            bridge(Box("three").target, "lab0", "10.0.0.0/24")

        one.end()
        assert meet(two.inside(lambda: server(81)), client("172.22.0.3", 81)) == "172.22.0.1"
        two.end()

    machine(there)


def test_a_bridge_goes_with_the_last_box_and_one_that_is_not_ours_stays() -> None:
    def there() -> None:
        netlink.send(netlink.new_bridge("theirs", netlink.random_mac()))
        stranger, box = Box("stranger"), Box("box")
        with pytest.raises(HostError, match="not ours"):
            bridge(stranger.target, "theirs")
        stranger.end()
        bridge(box.target, "lab0")
        box.end()

        assert [link.name for link in netlink.links() if link.kind == "bridge"] == ["theirs"]

    machine(there)


# -- the way out ------------------------------------------------------------------------------------------------------


def test_a_server_beyond_the_host_is_reached_and_sees_the_hosts_address() -> None:
    def there() -> None:
        far = beyond()
        box = connected()

        assert meet(netlink.in_netns(far, server), box.inside(lambda: client("198.51.100.2", 80))) == "198.51.100.1"

    machine(there)


def test_nothing_new_gets_in_but_by_a_published_port() -> None:
    def there() -> None:
        far = beyond()
        one, two = connected("one"), connected("two")
        listener = one.inside(server)
        netlink.in_netns(far, lambda: netlink.send(netlink.new_route("198.51.100.1")))

        assert refused(lambda: two.inside(lambda: client("172.22.0.2", 80)))
        assert refused(lambda: netlink.in_netns(far, lambda: client("172.22.0.2", 80)))
        publish(one.target, "8080:80")
        assert meet(listener, two.inside(lambda: client("172.22.1.1", 8080)))
        assert meet(listener, netlink.in_netns(far, lambda: client("198.51.100.1", 8080))) == "198.51.100.2"

    machine(there)


def test_rules_are_one_table_that_goes_with_the_box() -> None:
    def there() -> None:
        box = connected("web")
        publish(box.target, "8080:80")

        assert nftables.tables() == ["ip scratchlab-web"]
        box.end()
        assert nftables.tables() == []

    machine(there)


def test_a_table_of_that_name_that_is_not_ours_is_an_error_and_stays() -> None:
    def there() -> list[str]:
        nftables.run("add table ip scratchlab-web\nadd chain ip scratchlab-web mine")
        box = Box("web")
        veth(box.target)
        with pytest.raises(KernelError, match="EEXIST"):
            nat(box.target)
        box.end()
        return nftables.tables()

    assert machine(there) == ["ip scratchlab-web"]


def test_forwarding_is_on_while_somebody_needs_it_and_then_exactly_as_it_was() -> None:
    names = ["ip_forward", "conf/lo/forwarding", "conf/default/forwarding", "conf/all/accept_redirects"]

    def there() -> list[list[str]]:
        Path("/proc/sys/net/ipv4/conf/lo/forwarding").write_text("1")  # one link of a host that else does not forward
        states = [[sysctl(name) for name in names]]
        one, two = connected("one"), connected("two")
        states.append([sysctl(name) for name in names])
        one.end()
        states.append([sysctl(name) for name in names])
        two.end()
        return [*states, [sysctl(name) for name in names]]

    before, both, one_left, after = machine(there)

    assert both == one_left == ["1", "1", "1", "0"]
    assert before == after == ["0", "1", "0", "1"]


def test_nat_without_a_cable_says_what_comes_first() -> None:
    with pytest.raises(StageError, match="apply veth or bridge first"):
        machine(lambda: nat(Box().target))
