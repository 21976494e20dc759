"""What the kernel tells of a marked packet, read from bytes, and from the kernel itself."""

import socket
import struct

import pytest

from scratchlab.linux import nftables
from scratchlab.linux.nftrace import Event, listening, parse_trace
from tests.conftest import needs, needs_root
from tests.stages.network_lab import client, machine, meet, server


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def message(*attributes: bytes, family: int = 2, kind: int = 10 << 8 | 17) -> bytes:
    body = struct.pack("=BBH", family, 0, 0) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def header(protocol: int = socket.IPPROTO_TCP) -> bytes:
    start = struct.pack("!BBHHHBBH", 0x45, 0, 60, 0, 0, 64, protocol, 0)
    return start + socket.inet_aton("127.0.0.1") + socket.inet_aton("172.22.0.2")


NUMBER = struct.Struct("!I")
RULE = [
    attribute(1, b"scratchlab-web\0"), attribute(2, b"forward\0"), attribute(3, struct.pack("!Q", 13)),
    attribute(4, NUMBER.pack(3)), attribute(5, attribute(1, NUMBER.pack(0))), attribute(6, NUMBER.pack(7)),
    attribute(8, header()), attribute(9, struct.pack("!HH", 5000, 80)), attribute(10, NUMBER.pack(2)),
    attribute(12, NUMBER.pack(3)),
]  # fmt: skip


def test_a_rule_that_matched_is_read_with_its_packet() -> None:
    expected = Event(7, "ip scratchlab-web", "forward", "rule", 13, "drop", "127.0.0.1:5000", "172.22.0.2:80", 2, 3)

    assert parse_trace(message(*RULE)) == expected


def test_the_end_of_a_chain_is_read_with_its_policy() -> None:
    event = parse_trace(
        message(attribute(2, b"forward\0"), attribute(4, NUMBER.pack(1)), attribute(16, NUMBER.pack(1)), family=1)
    )

    assert event == Event(0, "inet ", "forward", "policy", 0, "accept", "", "", 0, 0)


@pytest.mark.parametrize("code", [-1, -3, -5])
def test_verdicts_below_zero_are_nfts_own(code: int) -> None:
    event = parse_trace(message(attribute(5, attribute(1, struct.pack("!i", code)))))

    assert event and event.verdict == {-1: "continue", -3: "jump", -5: "return"}[code]


def test_a_packet_without_ports_has_addresses_alone() -> None:
    event = parse_trace(message(attribute(8, header(socket.IPPROTO_ICMP)), attribute(9, b"\x08\0\0\0")))

    assert event and (event.source, event.destination) == ("127.0.0.1", "172.22.0.2")


def test_a_packet_of_ipv6_is_read_too() -> None:
    ends = socket.inet_pton(socket.AF_INET6, "fd00::2"), socket.inet_pton(socket.AF_INET6, "::1")
    network = struct.pack("!IHBB", 6 << 28, 20, socket.IPPROTO_TCP, 64) + b"".join(ends)

    event = parse_trace(message(attribute(8, network), attribute(9, struct.pack("!HH", 5000, 80)), family=1))

    assert event and (event.source, event.destination) == ("[fd00::2]:5000", "[::1]:80")


@pytest.mark.parametrize("length", range(len(message(*RULE))))
def test_a_message_that_was_cut_is_read_as_far_as_it_goes(length: int) -> None:
    assert parse_trace(message(*RULE)[:length]) is None or length >= 20


@pytest.mark.parametrize(
    "data",
    [
        message(kind=10 << 8 | 15),
        message(b"\1\0\1\0"),
        message(b"\xff\xff\1\0"),
        message(attribute(8, b"\x50" + bytes(39))),
        b"\0" * 40,
    ],
)
def test_what_is_none_or_damaged_does_no_harm(data: bytes) -> None:
    event = parse_trace(data)

    assert event is None or event.source == ""


@needs_root
@needs(nftables.available(), "needs libnftables: apt install nftables")
def test_the_kernel_tells_of_marked_packets_and_of_no_others() -> None:
    def there() -> tuple[set[str], list[Event]]:
        with listening() as heard, server(80) as listener, server(81) as other:
            nftables.run("""
                create table ip scratchlab-test
                add chain ip scratchlab-test out { type filter hook output priority 0; }
                add rule ip scratchlab-test out tcp dport 80 meta nftrace set 1""")
            meet(listener, client("127.0.0.1", 80))
            meet(other, client("127.0.0.1", 81))
            return {event.destination for event in heard() if event.source}, heard()

    assert machine(there) == ({"127.0.0.1:80"}, [])
