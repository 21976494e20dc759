"""The wiring and the way of a packet, against what links, rules and listeners on both sides say."""

import socket
from pathlib import Path

import pytest

from scratchlab import Sandbox, journal, stages, views
from scratchlab.errors import InputError
from scratchlab.linux import netlink, nftables
from scratchlab.linux.netlink import Link
from scratchlab.linux.nftrace import endpoint
from scratchlab.observe import Snapshot
from scratchlab.observe.packet import Hop, Journey, parse_endpoint, parse_rules
from scratchlab.stages.ports import Port
from scratchlab.views.wiring import drawn
from tests.conftest import eventually, needs, needs_root
from tests.views.reading import image

nft = [needs_root, needs(nftables.available(), "needs libnftables: apt install nftables")]

LISTEN = """
import socket
listener = socket.create_server(("", 80))
while True:
    served, sender = listener.accept()
    print(sender[0], flush=True)
    served.close()
"""


def wire(box, *more):
    for stage, *args in [(stages.unshare_net,), (stages.veth,), (stages.nat,), *more]:
        box.apply(stage, *args)


# -- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80, "tcp")),
        ("10.0.0.1:53/udp", ("10.0.0.1", 53, "udp")),
        ("[::1]:80", ("::1", 80, "tcp")),
    ],
)
def test_an_endpoint_is_read(text, endpoint):
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "80",
        "localhost:80",
        "127.0.0.1",
        "127.0.0.1:0",
        "127.0.0.1:99999",
        "1.1.1.1:80/sctp",
        "::1:80",
        "[127.0.0.1]:80",
        "[]:80",
    ],
)
def test_what_is_no_endpoint_is_refused(text):
    with pytest.raises(InputError) as raised:
        parse_endpoint(text)

    assert repr(text) in raised.value.message and raised.value.hint


def test_a_table_is_read_with_its_handles_and_hooks():
    found = parse_rules("""table ip scratchlab-web { # handle 7
        comment "1f"
        chain guard { # handle 1
                type filter hook prerouting priority raw; policy accept;
                iifname "veth-web" counter packets 3 bytes 180 drop # handle 4
        }
        chain mine { # handle 2
                ip daddr 10.0.0.1 accept # handle 5
        }
}""")

    assert found.rules == {4: 'iifname "veth-web" drop', 5: "ip daddr 10.0.0.1 accept"}
    assert found.hooks == {"guard": "prerouting"}


def test_a_cable_whose_ends_have_the_same_number_is_drawn_to_the_host():
    far = Link("veth-web", 2, "veth", "", True, 1500, "", peer=2)

    picture = drawn(
        "web",
        Snapshot(1, namespaces={"net": 1}, links=(far._replace(name="eth0"),)),
        Snapshot(2, namespaces={"net": 2}, links=(far,)),
        [],
    )

    assert [end.name for end in picture.ends] == ["veth-web"]


# -- the way of a packet ----------------------------------------------------------------------------------------------


@pytest.fixture
def wired():
    """A sandbox with a listener on its port 80, published at 18080."""
    with Sandbox("packet") as box:
        wire(box, (stages.publish, "18080:80"))
        running = box.start("python3", "-c", LISTEN)
        assert eventually(lambda: _listens(box))
        yield box, running


def _listens(box):
    return any(line.split()[1].endswith(":0050") for line in box.run("cat", "/proc/net/tcp").lines[1:])


@pytest.mark.usefixtures("wired")
class TestPacket:
    pytestmark = nft

    def test_a_packet_to_a_published_port_is_translated_twice_and_the_listener_sees_what_the_picture_says(self, wired):
        box, running = wired

        picture = views.packet(box, "127.0.0.1:18080")

        seen_inside = running.stop().lines[-1]
        assert picture.journey.outcome == "answered"
        assert [(hop.where, hop.hook) for hop in picture.journey.hops] == [
            ("host", "output"), ("host", "postrouting"), ("inside", "prerouting"), ("inside", "input"),
        ]  # fmt: skip
        assert picture.journey.hops[-1].after[0].partition(":")[0] == seen_inside
        assert picture.journey.hops[0].before[1] == "127.0.0.1:18080"
        assert picture.journey.hops[0].after[1].endswith(":80")

    def test_each_rule_that_the_picture_names_is_one_that_nft_lists(self, wired):
        box, _ = wired

        matches = [match for hop in views.packet(box, "127.0.0.1:18080").journey.hops for match in hop.matches]

        listed = nftables.listed(f"ip scratchlab-{box.name}")
        assert len(matches) == 2 and all(match.rule in listed for match in matches)
        assert [match.rule.split()[-3] if "dnat" in match.rule else "masquerade" for match in matches] == ["dnat", "masquerade"]

    def test_a_packet_that_is_dropped_stops_at_the_rule_that_drops_it(self, wired):
        box, _ = wired
        link = views.wiring(box).ends[0].name
        nftables.run(f'add rule ip scratchlab-{box.name} guard iifname "{link}" tcp dport 9 drop')

        picture = views.packet(box, f"{views.wiring(box).gateway}:9", inside=True)

        last = picture.journey.hops[-1]
        assert picture.journey.outcome == "no answer"
        assert (last.where, last.hook, last.matches[-1].verdict) == ("host", "prerouting", "drop")
        assert "tcp dport 9 drop" in repr(picture)

    def test_each_hook_is_passed_once_also_where_the_second_packet_has_the_addresses_that_the_first_got(self, wired):
        box, _ = wired
        gateway = views.wiring(box).gateway

        hops = views.packet(box, f"{gateway}:18080").journey.hops

        assert [(hop.where, hop.hook) for hop in hops] == [
            ("host", "output"), ("host", "postrouting"), ("inside", "prerouting"), ("inside", "input"),
        ]  # fmt: skip

    def test_what_is_sent_to_ones_own_published_port_comes_home_and_the_picture_shows_the_way_back(self, wired):
        box, running = wired
        gateway = views.wiring(box).gateway

        picture = views.packet(box, f"{gateway}:18080", inside=True)

        seen_inside = running.stop().lines[-1]
        assert [(hop.where, hop.hook) for hop in picture.journey.hops] == [
            ("inside", "output"), ("inside", "postrouting"), ("host", "prerouting"), ("host", "forward"),
            ("host", "postrouting"), ("inside", "prerouting"), ("inside", "input"),
        ]  # fmt: skip
        assert picture.journey.hops[-1].before[0].partition(":")[0] == seen_inside == gateway

    @pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
    def test_what_the_host_sends_to_itself_passes_each_hook_once(self, wired, family, address):
        box, _ = wired
        with socket.create_server((address, 0), family=family) as server:
            to = endpoint(address, server.getsockname()[1])

            picture = views.packet(box, to)

        assert picture.journey.outcome == "answered"
        assert [(hop.where, hop.hook, hop.before[1]) for hop in picture.journey.hops] == [
            ("host", "output", to), ("host", "postrouting", to), ("host", "prerouting", to), ("host", "input", to),
        ]  # fmt: skip
        assert f"→ {to}" in repr(picture) and ":* →" in repr(picture)

    def test_no_rule_of_a_table_for_one_version_of_ip_sees_a_packet_of_the_other(self, wired):
        box, _ = wired

        picture = views.packet(box, "[::1]:18080")

        assert picture.journey.outcome == "refused"
        assert [match for hop in picture.journey.hops for match in hop.matches] == []

    def test_a_datagram_is_followed_too(self, wired):
        box, _ = wired

        picture = views.packet(box, f"{views.wiring(box).gateway}:9/udp", inside=True)

        assert picture.journey.outcome == "sent"
        assert [(hop.where, hop.hook) for hop in picture.journey.hops] == [
            ("inside", "output"), ("inside", "postrouting"), ("host", "prerouting"), ("host", "input"),
        ]  # fmt: skip

    def test_where_no_route_leads_nothing_is_seen_and_the_kernel_says_why(self, box):
        box.apply(stages.unshare_net)

        picture = views.packet(box, "10.1.2.3:80", inside=True)

        assert picture.journey.outcome == "Network is unreachable (ENETUNREACH)"
        assert "did not get as far as the packet filter" in repr(picture)

    def test_nothing_of_the_tracing_stays(self, wired):
        box, _ = wired

        views.packet(box, "127.0.0.1:18080")

        # By name: other sandboxes on this machine come and go.
        assert [name for name in nftables.tables() if box.name in name.split("-")] == [f"ip scratchlab-{box.name}"]
        assert netlink.in_netns(box.pid, nftables.tables) == []

    def test_the_same_way_is_the_same_picture_whatever_the_senders_port(self, wired):
        box, _ = wired

        one, other = (views.packet(box, "127.0.0.1:18080") for _ in range(2))

        assert repr(one) == repr(other) and one.svg() == other.svg()
        assert one.journey.hops[0].before[0] in repr(views.Packet("packet", "", False, one.journey, exact=True))
        assert image(one).alternative == repr(one)


def test_the_drawing_cuts_no_address_off_for_the_name_of_a_link():
    ends = ("198.51.100.200:40000", "203.0.113.200:8080")
    hop = Hop("host", "prerouting", "veth-of-a-guest", ends, (), ends)

    words = image(views.Packet("guest", ends[1], True, Journey((hop,), "answered"), exact=True)).words()

    assert [" → ".join(ends), "arrives by veth-of-a-guest"] == words[3:5]


def _attribute(link, name):
    return int(Path(f"/sys/class/net/{link}/{name}").read_text())


# -- the wiring -------------------------------------------------------------------------------------------------------


class TestWiring:
    pytestmark = nft

    def test_the_cable_in_the_picture_is_the_one_in_the_kernel(self, box):
        wire(box, (stages.publish, "18081:80"))

        picture = views.wiring(box)

        (far,) = [name for name, *_ in picture.ends]
        peers = {link.index: link.peer for link in box.snapshot().links if link.name == "eth0"}
        assert peers == {_attribute(far, "iflink"): _attribute(far, "ifindex")}
        assert picture.links[picture.cable or 0].addresses[0].partition("/")[0] in repr(picture)
        assert "0.0.0.0:18081/tcp leads to port 80 inside, by rules" in repr(picture)
        assert all(rule in nftables.listed(f"ip scratchlab-{box.name}") for _, rule in picture.rules)

    def test_a_bridge_is_drawn_behind_its_port(self, box):
        box.apply(stages.unshare_net)
        box.apply(stages.bridge)
        box.apply(stages.publish, "18082:80")

        picture = views.wiring(box)

        assert [end.kind for end in picture.ends] == ["veth", "bridge"]
        assert "by a process that copies" in repr(picture)
        assert [Port(*port) for port in next(j for j in journal.journals() if j.name == box.name).facts["ports"]]

    def test_without_a_namespace_of_its_own_the_host_network_is_its_own(self, box):
        picture = views.wiring(box)

        assert not picture.apart and "the host's own network namespace" in repr(picture)
        assert image(picture).alternative == repr(picture)

    def test_a_link_that_is_down_is_called_so(self, box):
        box.apply(stages.unshare_net)
        before = repr(views.wiring(box))
        box.apply(stages.loopback)

        assert "down" in before and "down" not in repr(views.wiring(box))
