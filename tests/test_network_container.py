"""Containers and the network: who reaches them, whom they reach, and that nobody else does.

All but the first tests happen on a machine of their own: a network namespace with its own links, rules and sysctls, and
around it other namespaces that stand for other hosts.
"""

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest

from scratchlab.linux import netlink
from tests.command_line import init_of, running, said, scratchlab
from tests.conftest import eventually, needs_root
from tests.ports import fetch, free_port
from tests.stages.network_lab import beyond, machine

pytestmark = needs_root

R = TypeVar("R")

# Answers each client with its address as the server sees it.
TCP = """
import socket, sys
server = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print("ready", flush=True)
while True:
    client, address = server.accept()
    client.sendall(("tcp for " + address[0]).encode())
    client.close()
"""

UDP = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", int(sys.argv[1])))
print("ready", flush=True)
while True:
    data, address = server.recvfrom(99)
    server.sendto(b"udp for " + address[0].encode(), address)
"""


def call(address: str, port: int) -> str:
    """What a TCP server says, or '' where none can be reached. What a filter drops never answers: half a second is enough."""
    with suppress(OSError), socket.create_connection((address, port), timeout=0.5) as connection:
        connection.settimeout(10)
        return connection.recv(99).decode()
    return ""


def ask(address: str, port: int) -> str:
    """What a UDP server answers, or '' where there is none."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(1)
        asking.sendto(b"?", (address, port))
        return asking.recv(99).decode()
    return ""


@contextmanager
def serving(rootfs: Path, *options: str, program: str = TCP, port: int = 80) -> Iterator[None]:
    with running("run", "--cpus", "1", *options, rootfs, "python3", "-c", program, port, says="ready"):
        yield


def own_addresses() -> list[str]:
    listed = subprocess.run(["ip", "-json", "-4", "address"], capture_output=True, check=True).stdout
    links = [link for link in json.loads(listed) if link["ifname"] != "lo" and not link["ifname"].startswith("veth")]
    return [info["local"] for link in links for info in link["addr_info"]]


# -- the first examples, on this machine ------------------------------------------------------------------------------


def test_a_web_server_is_fetched_by_loopback_and_by_the_hosts_own_address(rootfs: Path) -> None:
    port = free_port()
    with running("run", "-publish", f"{port}:80", rootfs, "python3", "-m", "http.server", "80", stderr=subprocess.DEVNULL):
        for address in ("127.0.0.1", *own_addresses()[:1]):
            # Python's server starts with a fifth of a processor, which may be an emulated one.
            assert eventually(lambda address=address: "bin/" in fetch(port, address), patience=60)
    assert fetch(port) == ""


def test_another_port_inside_than_outside(rootfs: Path) -> None:
    with serving(rootfs, "-publish", "15789:1433", port=1433):
        assert call("127.0.0.1", 15789).startswith("tcp for 172.22.")
        assert call("127.0.0.1", 1433) == ""


# -- on a machine of their own ----------------------------------------------------------------------------------------


def from_elsewhere(pid: int, act: Callable[[], R]) -> R:
    """Do `act` in the network of another process."""
    return netlink.in_netns(pid, act)


def test_a_published_port_is_reached_from_everywhere(rootfs: Path) -> None:
    def act() -> list[str]:
        other_host = beyond()
        with serving(rootfs, "-p", "8080:80"):
            return [
                call("127.0.0.1", 8080),
                call("198.51.100.1", 8080),
                from_elsewhere(other_host, lambda: call("198.51.100.1", 8080)),
            ]

    by_loopback, by_own_address, from_other_host = machine(act)
    # The server knows who calls, but for 127.0.0.1, which no answer could find from another network.
    assert (by_loopback, by_own_address, from_other_host) == (
        "tcp for 172.22.0.1",
        "tcp for 198.51.100.1",
        "tcp for 198.51.100.2",
    )


def test_udp_is_published_like_tcp_and_apart_from_it(rootfs: Path) -> None:
    def act() -> list[str]:
        other_host = beyond()
        with serving(rootfs, "-p", "5353:53/udp", program=UDP, port=53):
            answers = [ask(address, 5353) for address in ("127.0.0.1", "198.51.100.1")]
            return [*answers, from_elsewhere(other_host, lambda: ask("198.51.100.1", 5353)), call("127.0.0.1", 5353)]

    by_loopback, by_own_address, from_other_host, by_tcp = machine(act)
    assert by_loopback.startswith("udp for ") and by_own_address.startswith("udp for ")
    assert (from_other_host, by_tcp) == ("udp for 198.51.100.2", "")


def test_a_port_published_on_one_address_is_not_reached_by_another(rootfs: Path) -> None:
    def act() -> list[str]:
        other_host = beyond()
        with serving(rootfs, "-p", "127.0.0.1:8080:80"):
            return [call("127.0.0.1", 8080), from_elsewhere(other_host, lambda: call("198.51.100.1", 8080))]

    here, there = machine(act)
    assert here.startswith("tcp") and there == ""


def test_nothing_gets_in_that_is_not_published(rootfs: Path) -> None:
    def act() -> list[str]:
        other_host = beyond()
        # Another host that knows the way: only the container's own rules keep it out.
        from_elsewhere(other_host, lambda: netlink.send(netlink.new_route("198.51.100.1")))
        with serving(rootfs):
            return [from_elsewhere(other_host, lambda: call("172.22.0.2", 80)), call("127.0.0.1", 80), call("172.22.0.2", 80)]

    from_other_host, by_loopback, from_host = machine(act)
    assert (from_other_host, by_loopback) == ("", "")
    assert from_host.startswith("tcp")  # the host itself is the container's router


def test_two_containers_reach_each_other_only_by_published_ports(rootfs: Path) -> None:
    program = "import socket, sys\ntry: print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).recv(99).decode())\n"
    client = ("python3", "-c", program + "except OSError as error: print('unreachable')")

    def act() -> list[str]:
        beyond()
        with serving(rootfs, "--name", "one", "-p", "8080:80"):
            address = from_elsewhere(init_of("one"), own_addresses)[0]
            ways = [(address, 80), ("172.22.0.1", 8080), ("198.51.100.1", 8080), ("198.51.100.1", 80)]
            return [said("run", "--cpus", "1", rootfs, *client, *way).strip() for way in ways]

    direct, by_gateway, by_host, not_published = machine(act)
    assert direct == not_published == "unreachable"
    assert by_gateway.startswith("tcp for ") and by_host.startswith("tcp for ")


def test_a_container_reaches_a_server_beyond_the_host_under_the_hosts_address(rootfs: Path) -> None:
    program = "import socket; print(socket.create_connection(('198.51.100.2', 7), 5).recv(99).decode())"

    def act() -> str:
        listener = from_elsewhere(beyond(), lambda: socket.create_server(("0.0.0.0", 7)))

        def answer() -> None:
            client, address = listener.accept()
            with client:
                client.sendall(f"you are {address[0]}".encode())

        threading.Thread(target=answer, daemon=True).start()
        return said("run", "--cpus", "1", rootfs, "python3", "-c", program)

    assert machine(act) == "you are 198.51.100.1\n"


def test_without_a_network_there_is_only_loopback(rootfs: Path) -> None:
    links = said("run", "--network", "none", rootfs, "ip", "-brief", "link").splitlines()

    assert [line.split()[0] for line in links] == ["lo"]
    done = scratchlab("run", "--network", "none", "--cpus", "1", rootfs, "python3", "-c",
                      "import socket; socket.create_connection(('192.0.2.1', 7))")  # fmt: skip
    assert "Network is unreachable" in done.stderr


def test_the_hosts_network_is_the_hosts(rootfs: Path) -> None:
    def act() -> tuple[str, str]:
        with serving(rootfs, "--network", "host", port=4711):
            return call("127.0.0.1", 4711), said("run", "--network", "host", rootfs, "ls", "/sys/class/net")

    answer, links = machine(act)
    assert (answer, links) == ("tcp for 127.0.0.1", "lo\n")


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_without_nat_a_process_carries_the_port(rootfs: Path, protocol: str) -> None:
    def act() -> str:
        program, client = (TCP, call) if protocol == "tcp" else (UDP, ask)
        with serving(rootfs, "--without", "nat", "-p", f"8080:80/{protocol}", program=program):
            return client("127.0.0.1", 8080)

    assert machine(act).startswith(f"{protocol} for ")
