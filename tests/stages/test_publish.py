"""Published ports: by rules and by the proxy, from everywhere that a client can be."""

import functools
import os
import signal
import socket
import struct
from collections.abc import Callable

import pytest

from scratchlab.errors import HostError, InputError, StageError
from scratchlab.linux import netlink, nftables
from scratchlab.stages import loopback, publish, veth
from scratchlab.stages.ports import Port, parse_publish
from scratchlab.stages.stage import Target, perform, step
from tests.conftest import needs, needs_root
from tests.stages.network_lab import Box, beyond, client, connected, echo, machine, meet, refused, server, udp

nft = needs(nftables.available(), "needs libnftables: apt install nftables")
by_both = pytest.mark.parametrize("by", [pytest.param("nftables", marks=nft), "proxy"])


# -- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("8080:80", Port("0.0.0.0", 8080, 80, "tcp")),
        ("127.0.0.1:53:5353/udp", Port("127.0.0.1", 53, 5353, "udp")),
        ("1:65535/tcp", Port("0.0.0.0", 1, 65535, "tcp")),
    ],
)
def test_a_port_is_read(text: str, port: Port) -> None:
    assert parse_publish(text) == port


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("8080", "it needs a port here and a port in the container"),
        ("", "it needs a port here and a port in the container"),
        ("0:80", "port 0 is out of range"),
        ("8080:65536", "port 65536 is out of range"),
        ("http:80", "'http' is not a port number"),
        ("8080:", "'' is not a port number"),
        ("-1:80", "'-1' is not a port number"),
        ("80\u00b2:80", "is not a port number"),
        ("8080:80/sctp", "'sctp' is neither tcp nor udp"),
        ("8080:80/", "'' is neither tcp nor udp"),
        ("300.0.0.1:80:80", "'300.0.0.1' is not an IPv4 address"),
        ("localhost:80:80", "'localhost' is not an IPv4 address"),
        ("[::1]:80:80", "IPv6 is not supported"),
        ("::1:80:80", "IPv6 is not supported"),
    ],
)
def test_what_is_no_port_is_refused_with_the_part_that_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_publish(text)

    assert complaint in raised.value.message and repr(text) in raised.value.message
    assert raised.value.hint


# -- by rules ---------------------------------------------------------------------------------------------------------


@needs_root
@nft
def test_a_published_tcp_port_is_reached_from_everywhere() -> None:
    def there() -> None:
        far = beyond()
        one, two = connected("one"), connected("two")
        listener = one.inside(server)
        publish(one.target, "8080:80")

        assert meet(listener, client("127.0.0.1", 8080)) == "172.22.0.1"
        assert meet(listener, client("198.51.100.1", 8080))  # the host's own address, on the host
        assert meet(listener, netlink.in_netns(far, lambda: client("198.51.100.1", 8080))) == "198.51.100.2"
        assert meet(listener, one.inside(lambda: client("198.51.100.1", 8080))) == "172.22.0.1"
        assert meet(listener, two.inside(lambda: client("198.51.100.1", 8080))) == "172.22.0.1"
        assert meet(listener, two.inside(lambda: client("172.22.1.1", 8080)))

    machine(there)


@needs_root
@nft
def test_a_published_udp_port_is_reached_from_everywhere() -> None:
    def there() -> None:
        far = beyond()
        box = connected()
        listener = box.inside(lambda: udp(53))
        publish(box.target, "5353:53/udp")

        assert echo(listener, udp(), ("127.0.0.1", 5353)) == "172.22.0.1"
        assert echo(listener, netlink.in_netns(far, udp), ("198.51.100.1", 5353)) == "198.51.100.2"
        assert echo(listener, box.inside(udp), ("198.51.100.1", 5353)) == "172.22.0.1"

    machine(there)


@needs_root
@by_both
def test_a_port_published_on_one_address_is_not_on_the_others(by: str) -> None:
    def there() -> None:
        far = beyond()
        box = connected()
        listener = box.inside(server)
        publish(box.target, "127.0.0.1:8080:80", by=by)

        assert meet(listener, client("127.0.0.1", 8080))
        assert refused(lambda: client("198.51.100.1", 8080))
        assert refused(lambda: netlink.in_netns(far, lambda: client("198.51.100.1", 8080)))

    machine(there)


@needs_root
@nft
def test_what_arrives_by_the_cable_for_the_hosts_loopback_is_dropped() -> None:
    """CVE-2020-8558: route_localnet, which publishing on 127.0.0.1 needs, would let it in."""

    def there() -> None:
        box = connected()
        publish(box.target, "127.0.0.1:8080:80")
        private, public = udp(6000, "127.0.0.1"), udp(6000, "172.22.0.1")
        mac = bytes.fromhex(netlink.links()[-1].address.replace(":", ""))
        for address in ("127.0.0.1", "172.22.0.1"):
            box.inside(functools.partial(send_raw, mac, address))

        assert public.recv(16) == b"raw"  # it was sent last: the other one would have arrived before
        private.setblocking(False)
        with pytest.raises(BlockingIOError):
            private.recv(16)

    machine(there)


def send_raw(mac: bytes, address: str) -> None:
    """A datagram for port 6000 of `address`, handed to the cable itself: no route of this box would lead it there."""
    datagram = struct.pack("!4H", 6000, 6000, 8 + 3, 0) + b"raw"
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, socket.IPPROTO_UDP, 0)
    head += socket.inet_aton("172.22.0.2") + socket.inet_aton(address)
    total = sum(struct.unpack("!10H", head))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF  # ip(7) headers carry one; UDP may leave its own out
    packet = head[:10] + struct.pack("!H", checksum) + head[12:] + datagram
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as cable:
        cable.sendto(packet, ("eth0", 0x0800, 0, 0, mac))


@needs_root
@nft
def test_publishing_by_rules_needs_the_table_of_nat() -> None:
    def there() -> None:
        box = Box()
        veth(box.target)
        publish(box.target, "8080:80", by="nftables")

    with pytest.raises(StageError, match="apply nat first"):
        machine(there)


# -- by the proxy -----------------------------------------------------------------------------------------------------


@needs_root
def test_the_proxy_needs_neither_a_cable_nor_rules() -> None:
    def there() -> None:
        box = Box()
        box.inside(lambda: perform(step(loopback)))
        tcp, datagrams = box.inside(lambda: server(80, "127.0.0.1")), box.inside(lambda: udp(53, "127.0.0.1"))
        publish(box.target, "8080:80")
        publish(box.target, "5353:53/udp")

        assert meet(tcp, client("127.0.0.1", 8080)) == "127.0.0.1"
        assert {echo(datagrams, udp(), ("127.0.0.1", 5353)) for _ in range(3)} == {"127.0.0.1"}
        assert [link.name for link in netlink.links()] == ["lo"]
        box.end()
        assert refused(lambda: client("127.0.0.1", 8080))

    machine(there)


@needs_root
def test_the_proxy_carries_much_and_keeps_half_closed_connections_open() -> None:
    much = os.urandom(1 << 20) * 8

    def there() -> None:
        box = connected()
        listener = box.inside(server)
        publish(box.target, "8080:80", by="proxy")
        caller = client("127.0.0.1", 8080)
        caller.settimeout(10)
        if os.fork() == 0:  # the client's side: say all, then say that it is all
            caller.sendall(much)
            caller.shutdown(socket.SHUT_WR)
            os._exit(0)
        served, _ = listener.accept()

        assert read_all(served) == much
        served.sendall(b"thanks")
        served.close()
        assert read_all(caller) == b"thanks"

    machine(there)


def read_all(stream: socket.socket) -> bytes:
    parts = []
    while part := stream.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


@needs_root
def test_the_proxy_hangs_up_where_nobody_listens() -> None:
    def there() -> bytes:
        box = connected()
        publish(box.target, "8080:80", by="proxy")
        with client("127.0.0.1", 8080) as caller:
            caller.settimeout(5)
            return caller.recv(1)

    assert machine(there) == b""


@needs_root
def test_a_process_without_a_network_of_its_own_gets_no_proxy() -> None:
    def there() -> None:
        box = Box()
        os.kill(box.pid, signal.SIGKILL)
        os.waitpid(box.pid, 0)
        publish(Target(box.pid, box.target.journal), "8080:80")

    with pytest.raises(HostError, match="cannot enter the sandbox"):
        machine(there)


# -- who has it -------------------------------------------------------------------------------------------------------


def complaint(attempt: Callable[[], object]) -> str:
    with pytest.raises(HostError) as raised:
        attempt()
    return raised.value.message


@needs_root
@nft
def test_a_port_that_is_taken_says_by_whom() -> None:
    def there() -> None:
        one, two = connected("one"), connected("two")
        publish(one.target, "8080:80")
        publish(one.target, "8080:80/udp")
        theirs = server(9090, "127.0.0.1")

        assert complaint(lambda: publish(two.target, "8080:81")) == "port 8080/tcp is in use by sandbox 'one'"
        assert complaint(lambda: publish(two.target, "127.0.0.1:8080:81")) == "port 8080/tcp is in use by sandbox 'one'"
        assert complaint(lambda: publish(two.target, "8080:81/udp")) == "port 8080/udp is in use by sandbox 'one'"
        assert complaint(lambda: publish(two.target, "9090:81")).endswith(f"(pid {os.getpid()})")
        assert complaint(lambda: publish(two.target, "203.0.113.7:81:81")) == "203.0.113.7 is not an address of this host"
        theirs.close()
        publish(two.target, "9090:81")

    machine(there)


@needs_root
@by_both
def test_a_port_is_reserved_while_it_is_published_and_free_after_it(by: str) -> None:
    def there() -> None:
        box = connected()
        publish(box.target, "8080:80", by=by)

        assert refused(lambda: server(8080))
        box.end()
        assert not refused(lambda: server(8080))

    machine(there)


@needs_root
def test_the_proxy_dies_with_its_keeper() -> None:
    def there() -> None:
        if (keeper := os.fork()) == 0:
            publish(Box().target, "8080:80")
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(keeper, 0)

        while refused(lambda: server(8080)):
            pass

    machine(there)
