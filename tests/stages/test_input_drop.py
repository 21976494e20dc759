"""The host's own services: no container reaches them, at any address of the host, and what else worked goes on working."""

import socket
from pathlib import Path

import pytest

from scratchlab import journal, linux
from scratchlab.errors import StageError
from scratchlab.linux import netlink, nftables
from scratchlab.stages import bridge, input_drop, publish, veth
from tests.conftest import eventually, needs, needs_root
from tests.stages.network_lab import Box, beyond, client, connected, echo, machine, meet, refused, server, udp

pytestmark = [needs_root, needs(nftables.available(), "needs libnftables: apt install nftables")]


def guarded(name: str = "web") -> Box:
    box = connected(name)
    input_drop(box.target)
    return box


def test_no_address_of_the_host_answers_and_without_the_stage_each_does() -> None:
    def there() -> None:
        beyond()
        listener = server(8080)
        open_box, box = connected("open"), guarded("closed")

        for address in ("172.22.0.1", "172.22.1.1", "198.51.100.1"):
            assert refused(lambda address=address: box.inside(lambda: client(address, 8080)))
            assert meet(listener, open_box.inside(lambda address=address: client(address, 8080)))

    machine(there)


def test_datagrams_do_not_arrive_either() -> None:
    def there() -> None:
        box, listener = guarded(), udp(5353)
        box.inside(udp).sendto(b"ping", ("172.22.0.1", 5353))
        listener.settimeout(0.2)

        with pytest.raises(TimeoutError):
            listener.recv(16)

    machine(there)


def is_sure_of_its_address(pid: int, link: str) -> bool:
    """Whether a link has an IPv6 address, and has made sure that nobody else has it.  proc_pid_net(5)"""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/if_inet6").read_text().splitlines()]
    tentative = 0x40
    return any(row[5] == link and not int(row[4], 16) & tentative for row in rows)


def link_local(mac: str) -> str:
    """The IPv6 address that the kernel gives a link by itself.  RFC 4291, appendix A"""
    word = bytes.fromhex(mac.replace(":", ""))
    return socket.inet_ntop(socket.AF_INET6, b"\xfe\x80" + bytes(6) + bytes([word[0] ^ 2]) + word[1:3] + b"\xff\xfe" + word[3:])


@pytest.mark.parametrize("closed", [False, True])
def test_the_address_that_ipv6_gives_every_cable_is_closed_too(closed: bool) -> None:
    def there() -> bool:
        box = guarded() if closed else connected()
        host = link_local({link.name: link.address for link in netlink.links()}["veth-web"])
        assert eventually(lambda: is_sure_of_its_address(box.pid, "eth0"))
        with socket.create_server(("::", 8080), family=socket.AF_INET6):
            # The host's end may take a little longer to be sure of its own.
            return eventually(lambda: refused(lambda: box.inside(lambda: _connect6(host))), closed)

    assert machine(there) is closed


def _connect6(host: str) -> socket.socket:
    made = socket.socket(socket.AF_INET6)
    made.settimeout(0.5)
    made.connect((host, 8080, 0, socket.if_nametoindex("eth0")))
    return made


def test_what_the_host_begins_and_what_leads_beyond_it_goes_on() -> None:
    def there() -> None:
        far, box = beyond(), guarded()

        assert meet(box.inside(server), client("172.22.0.2", 80)) == "172.22.0.1"
        assert meet(netlink.in_netns(far, server), box.inside(lambda: client("198.51.100.2", 80))) == "198.51.100.1"
        assert echo(box.inside(lambda: udp(53)), udp(), ("172.22.0.2", 53)) == "172.22.0.1"

    machine(there)


def test_published_ports_go_on_from_everywhere() -> None:
    def there() -> None:
        far, box, other = beyond(), guarded("web"), guarded("other")
        listener = box.inside(server)
        publish(box.target, "8080:80")

        assert meet(listener, client("127.0.0.1", 8080))
        assert meet(listener, netlink.in_netns(far, lambda: client("198.51.100.1", 8080)))
        assert meet(listener, other.inside(lambda: client("172.22.1.1", 8080)))  # a neighbour, by the host's address
        assert meet(listener, box.inside(lambda: client("172.22.0.1", 8080)))  # itself, by the host's address

    machine(there)


def test_it_stands_in_the_sandboxs_own_tables_and_goes_with_it() -> None:
    def there() -> tuple[list[str], list[str]]:
        box = guarded("web")
        during = nftables.tables()
        box.end()
        assert not list(journal.journals())
        return during, nftables.tables()

    assert machine(there) == (["ip scratchlab-web"], [])


@pytest.mark.parametrize("told", [True, False])
def test_a_name_server_that_is_the_host_answers_where_it_is_the_one_to_ask(told: bool, tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text(f"nameserver {'198.51.100.1' if told else '198.51.100.2'}\n")

    def there() -> bool:
        linux.mount(str(tmp_path / "resolv.conf"), "/etc/resolv.conf", None, linux.Mount.BIND)
        beyond()
        box = guarded()
        with server(80), server(53):
            assert refused(lambda: box.inside(lambda: client("198.51.100.1", 80)))
            return not refused(lambda: box.inside(lambda: client("198.51.100.1", 53)))

    assert machine(there) is told


def test_without_nat_it_makes_the_table_itself() -> None:
    def there() -> tuple[bool, list[str]]:
        listener, box = server(8080), Box("web")
        veth(box.target)
        assert meet(listener, box.inside(lambda: client("172.22.0.1", 8080)))
        input_drop(box.target)
        closed = refused(lambda: box.inside(lambda: client("172.22.0.1", 8080)))
        box.end()
        return closed, nftables.tables()

    assert machine(there) == (True, [])


def test_on_a_bridge_neighbours_still_reach_each_other_and_not_the_host() -> None:
    def there() -> None:
        listener, one, two = server(8080), Box("one"), Box("two")
        bridge(one.target, "lab0")
        bridge(two.target, "lab0")
        assert meet(listener, one.inside(lambda: client("172.22.0.1", 8080)))
        input_drop(one.target)

        assert meet(two.inside(server), one.inside(lambda: client("172.22.0.3", 80))) == "172.22.0.2"
        assert refused(lambda: one.inside(lambda: client("172.22.0.1", 8080)))

    machine(there)


def test_it_needs_a_cable() -> None:
    with pytest.raises(StageError, match="apply veth or bridge first"):
        machine(lambda: input_drop(Box().target))
