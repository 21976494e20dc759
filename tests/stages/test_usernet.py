"""The network of an ordinary user: a program speaks for the container. Asked from the host's loopback, and from inside."""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scratchlab import linux
from scratchlab.stages.usernet import DNS, PROGRAMS
from tests.command_line import complains, running, said
from tests.conftest import eventually, in_child, needs, needs_root
from tests.ordinary import Ordinary

pytestmark = [
    needs_root,
    needs(Path("/dev/net/tun").exists(), "needs /dev/net/tun: modprobe tun"),
    *(needs(shutil.which(program), f"needs {program}: ./lab test installs it") for program in PROGRAMS),
]

each_program = pytest.mark.parametrize("program", PROGRAMS)

TCP = """
import socket
server = socket.create_server(("0.0.0.0", 80))
print("ready", flush=True)
while True:
    client, _ = server.accept()
    client.sendall(b"from inside: " + client.recv(100))
    client.close()
"""

UDP = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 53))
print("ready", flush=True)
while True:
    data, address = server.recvfrom(100)
    server.sendto(b"from inside: " + data, address)
"""


def ask(kind: int, port: int, ip: str = "127.0.0.1") -> bytes:
    """One question from the host to a published port; b"" where nobody answers."""
    with socket.socket(socket.AF_INET, kind) as asked:
        asked.settimeout(5)
        try:
            asked.connect((ip, port))
            asked.sendall(b"hello")
            return asked.recv(100)
        except OSError:
            return b""


@each_program
def test_a_published_tcp_port_leads_in(ann: Ordinary, program: str) -> None:
    words = ("run", "--network", program, "--name", "tcp", "-p", "127.0.0.1:15811:80", ann.rootfs, "python3", "-c", TCP)
    with ann.running(*words, says="ready"):
        assert ask(socket.SOCK_STREAM, 15811) == b"from inside: hello"
        assert ask(socket.SOCK_STREAM, 15811, "127.0.0.2") == b""
        assert "127.0.0.1:15811:80" in ann.said("ps")
    assert ask(socket.SOCK_STREAM, 15811) == b""


@each_program
def test_a_published_udp_port_leads_in(ann: Ordinary, program: str) -> None:
    words = ("run", "--network", program, "-p", "127.0.0.1:15812:53/udp", ann.rootfs, "python3", "-c", UDP)
    with ann.running(*words, says="ready"):
        assert ask(socket.SOCK_DGRAM, 15812) == b"from inside: hello"


@each_program
def test_a_port_without_an_address_is_everywhere(ann: Ordinary, program: str) -> None:
    with ann.running("run", "--network", program, "-p", "15813:80", ann.rootfs, "python3", "-c", TCP, says="ready"):
        assert [ask(socket.SOCK_STREAM, 15813, ip) for ip in ("127.0.0.1", "127.0.0.2")] == [b"from inside: hello"] * 2


@each_program
def test_what_was_not_published_is_not_reachable_either_way(ann: Ordinary, program: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = ours.getsockname()[1]
        look = (
            f"import socket\ntry: socket.create_connection(('127.0.0.1', {port}), 5)\nexcept OSError as error: print(error.errno)"
        )
        with ann.running("run", "--network", program, "--name", "shut", ann.rootfs, "python3", "-c", TCP, says="ready"):
            assert ask(socket.SOCK_STREAM, 80) == b""
            assert ann.said("exec", "shut", "python3", "-c", look) == "111\n"


GATEWAY = {"pasta": "192.0.2.1", "slirp4netns": "10.0.2.2"}
WIRES = (
    "link set lo up", "link add lan type veth peer name neighbour", "address add 192.0.2.50/24 dev lan", "link set lan up",
    "link set neighbour up", "route add default via 192.0.2.1",
)  # fmt: skip


@each_program
def test_the_hosts_loopback_is_not_behind_the_gateway(ann: Ordinary, program: str) -> None:
    """On a machine of its own, whose gateway is a name only: what is sent there must not come back to this machine."""

    def act() -> str:
        linux.unshare(linux.Clone.NEWNET)
        for words in WIRES:
            subprocess.run(["ip", *words.split()], check=True)
        with socket.create_server(("127.0.0.1", 0)) as ours:
            address = (GATEWAY[program], ours.getsockname()[1])
            look = f"import socket\ntry: socket.create_connection({address}, 2); print('reached')\nexcept OSError: print('not')"
            return ann.said("run", "--network", program, ann.rootfs, "python3", "-c", look)

    assert in_child(act) == "not\n"


@pytest.mark.parametrize("program", [*PROGRAMS, "auto"])
def test_kill_9_of_the_command_leaves_no_program(ann: Ordinary, program: str) -> None:
    words = ("run", "--network", program, "-p", "127.0.0.1:15817:53/udp", "--name", "killed", ann.rootfs, "python3", "-c", TCP)
    with ann.running(*words, says="ready") as process:
        ann.init_of("killed")
        assert carriers(ann)
        process.kill()
        process.wait()
        assert eventually(lambda: carriers(ann), []) == []
    ann.said("clean")


def carriers(ann: Ordinary) -> list[str]:
    """The programs that carry a network for this user."""
    pids = [name.split()[1] for name in ann.left_behind() if name.startswith("process ")]
    names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids if os.path.exists(f"/proc/{pid}")]
    return [name for name in names if name.startswith(("passt", *PROGRAMS))]


def test_a_port_that_is_taken_is_said_to_be_and_by_whom(ann: Ordinary) -> None:
    with socket.create_server(("127.0.0.1", 15814)):
        done = ann.scratchlab("run", "-p", "127.0.0.1:15814:80", ann.rootfs, "true")
    assert done.returncode == 125 and "port 15814/tcp is in use" in done.stderr


def test_without_a_program_the_network_is_none_and_a_note_says_what_to_install(ann: Ordinary) -> None:
    poor = ann._replace(path="/usr/bin", binds=(("/dev/null", "/usr/bin/pasta"), ("/dev/null", "/usr/bin/slirp4netns")))
    done = poor.scratchlab("run", poor.rootfs, "cat", "/proc/net/dev")

    assert done.stdout.splitlines()[2].split(":")[0].strip() == "lo"
    assert "eth0" not in done.stdout
    assert "note: there is no network: pasta is not installed (as root: apt-get install passt)" in done.stderr
    refused = poor.scratchlab("run", "-p", "15815:80", poor.rootfs, "true")
    assert refused.returncode == 2 and "--publish needs a network" in refused.stderr


# -- names ------------------------------------------------------------------------------------------------------------

LOOK_UP = "import socket; print(socket.gethostbyname('host.example'))"


@contextmanager
def name_server(ip: str) -> Iterator[None]:
    """A name server on the host's loopback, where only the host can reach it: every name is 192.0.2.77."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((ip, 53))

        def serve() -> None:
            while (asked := server.recvfrom(512))[0]:  # an empty one is ours, and the last
                query, address = asked
                # The same number and question, one answer: a pointer to the name, type A, class IN, one minute, four bytes.
                answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04" + socket.inet_aton("192.0.2.77")
                question = query[12 : query.index(b"\0", 12) + 5]
                server.sendto(query[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + question + answer, address)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            server.sendto(b"", (ip, 53))
            thread.join()


@each_program
def test_names_are_looked_up_by_the_hosts_own_server_even_on_loopback(ann: Ordinary, program: str) -> None:
    (ann.home / "resolv.conf").write_text("nameserver 127.0.0.9\n")
    here = ann._replace(binds=((f"{ann.home}/resolv.conf", "/etc/resolv.conf"),))

    with name_server("127.0.0.9"):
        shown = here.said(
            "run", "--network", program, here.rootfs, "python3", "-c", LOOK_UP + "; print(open('/etc/resolv.conf').read())"
        )

    assert shown.split() == ["192.0.2.77", "nameserver", DNS[program]]


# -- for root, who may choose -----------------------------------------------------------------------------------------


@each_program
def test_root_may_choose_a_program_too(rootfs: Path, program: str) -> None:
    words = ("run", "--network", program, "-p", "127.0.0.1:15816:80", rootfs, "python3", "-c", TCP)
    with running(*words, says="ready"):
        assert ask(socket.SOCK_STREAM, 15816) == b"from inside: hello"
    # What sleeps or runs: one that has ended is a zombie for as long as this machine's first process likes.
    assert subprocess.run(["pgrep", "-x", "-r", "DRS", program], capture_output=True, check=False).stdout == b""


def test_a_network_that_is_none_of_ours_is_refused(rootfs: Path) -> None:
    complains(2, "--network bridge0: no such network", "run", "--network", "bridge0", rootfs, "true")
    assert "pasta('8080:80')" in said("run", "--dry-run", "--network", "pasta", "-p", "8080:80", rootfs, "true")
