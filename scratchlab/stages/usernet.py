"""A network without root: a program on the host speaks for the process inside, through ordinary sockets of its own.

The program holds a tap(4) link in the process's network namespace, reads the packets that are sent there, and does itself what
they ask for: where a SYN comes, it calls connect(2). What it cannot do as a user cannot be done from inside.
"""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence

from scratchlab import linux
from scratchlab.errors import HostError
from scratchlab.linux import programs
from scratchlab.shared import run_directory
from scratchlab.stages import helpers, portproxy
from scratchlab.stages.ports import Port, note, parse_publish, reserve
from scratchlab.stages.stage import Target, outside

PROGRAMS = ("pasta", "slirp4netns")  # the better one first
PACKAGES = {"pasta": "passt", "slirp4netns": "slirp4netns"}
TAP = "/dev/net/tun"

# Where the program answers for the host's name server, whatever that is: an address of no other use inside.
DNS = {"pasta": "169.254.1.1", "slirp4netns": "10.0.2.3"}

_MTU = 65520  # packets never leave this machine, so they may be large: 65535 without the header, in whole words


@outside(
    "pasta(1)",
    shell="pasta --config-net --netns /proc/PID/ns/net --tcp-ports 8080:80",
    engine="podman run --network pasta --publish 8080:80",
    needs=("net",),
)
def pasta(target: Target, *publish: str) -> list[Port]:
    """The host's own address and routes, and ports that lead in, without a right to the host's network.  pasta(1)"""
    ports = _free_ports(publish)
    netns = os.open(f"/proc/{target.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    forwarded = [f"{port.ip}/{port.host}:{port.container}" for port in ports if port.protocol == "tcp"]

    def argv(ready: int) -> list[str]:
        return [
            "pasta", "--foreground", "--quiet", "--config-net", "--netns-only", "--netns", f"/proc/self/fd/{netns}",
            "--ns-ifname", "eth0", "--ipv4-only", "--mtu", str(_MTU), "--pid", f"/proc/self/fd/{ready}",
            "--no-map-gw",  # or the gateway's address would lead to what listens on the host's 127.0.0.1
            "--dns-forward", DNS["pasta"],
            # By default, whatever listens on one side would be reachable from the other.
            "--tcp-ns", "none", "--udp-ns", "none", "--udp-ports", "none",
            *(word for spec in forwarded or ["none"] for word in ("--tcp-ports", spec)),
            *(["--runas", "0"] if os.geteuid() == 0 else []),
        ]  # fmt: skip

    try:
        _start(target, argv, [netns])
    finally:
        os.close(netns)
    return _published(target, ports)


@outside(
    "slirp4netns(1)",
    shell="slirp4netns --configure --api-socket=SOCKET PID tap0",
    engine="podman run --network slirp4netns --publish 8080:80",
    needs=("net",),
)
def slirp4netns(target: Target, *publish: str) -> list[Port]:
    """A small network behind the host, 10.0.2.0/24, and ports that lead in.  slirp4netns(1)"""
    ports = _free_ports(publish)
    netns = os.open(f"/proc/{target.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    api = str(run_directory() / f"{target.name}.slirp")
    target.journal.will("file", path=api)

    def argv(ready: int) -> list[str]:
        return [
            "slirp4netns", "--configure", f"--mtu={_MTU}", "--disable-host-loopback", f"--ready-fd={ready}",
            f"--api-socket={api}", "--netns-type=path", f"/proc/self/fd/{netns}", "eth0",
        ]  # fmt: skip

    try:
        _start(target, argv, [netns])
    finally:
        os.close(netns)
    for port in ports:
        if port.protocol == "tcp":
            _forward(api, port)
    return _published(target, ports)


def _forward(api: str, port: Port) -> None:
    """Ask a running slirp4netns for a port. It answers in JSON, once, and hangs up."""
    wanted = {"proto": port.protocol, "host_addr": port.ip, "host_port": port.host, "guest_port": port.container}
    with _connected(api) as asked:
        asked.sendall(json.dumps({"execute": "add_hostfwd", "arguments": wanted}).encode())
        asked.shutdown(socket.SHUT_WR)
        answer = json.loads(asked.recv(4096) or "{}")
    if "return" not in answer:
        raise HostError(f"slirp4netns does not publish {port}: {answer.get('error', {}).get('desc', answer)}")


def _connected(api: str) -> socket.socket:
    """A connection to the socket that slirp4netns makes a moment after it has said that it is ready."""
    deadline = time.monotonic() + 5
    while True:
        asked = socket.socket(socket.AF_UNIX)
        try:
            asked.connect(api)
            return asked
        except OSError as error:
            asked.close()
            if time.monotonic() > deadline:
                raise HostError(f"slirp4netns does not answer at {api}: {error.strerror}") from None
        time.sleep(0.001)


# -- both -------------------------------------------------------------------------------------------------------------


def _free_ports(publish: Sequence[str]) -> list[Port]:
    """The ports that are asked for. Raises HostError that says who has one: the program could not say it as well."""
    ports = [parse_publish(text) for text in publish]
    for taken in [reserve(port) for port in ports]:
        taken.close()
    return ports


def _published(target: Target, ports: list[Port]) -> list[Port]:
    """Carry the UDP ports ourselves: what both programs do with answers to 127.0.0.1, in Debian 12, is lose them."""
    for port in ports:
        if port.protocol == "udp":
            with reserve(port) as reserved:
                portproxy.start(target, port, reserved, "127.0.0.1")
    note(target, *ports)
    return ports


def _start(target: Target, argv: Callable[[int], list[str]], keep: Sequence[int]) -> None:
    """Run a program in the sandbox's user namespace, where it may enter the network, until it says that it is ready."""
    reader, ready = os.pipe()
    said = os.memfd_create("said")
    words = argv(ready)
    path = programs.find(words[0])
    if not path:
        raise HostError(f"{words[0]} is not installed", f"as root: apt-get install {PACKAGES[words[0]]}; or --network none")

    def act(_keeper_end: socket.socket) -> None:
        os.setsid()
        helpers.enter(target.pid)
        _be_root_of_the_namespace()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # pasta refuses to start where it is ignored
        for standard, fd in enumerate((os.open(os.devnull, os.O_RDONLY), said, said)):
            os.dup2(fd, standard)
        for fd in (ready, *keep):
            os.set_inheritable(fd, True)
        os.execv(path, words)

    try:
        helper = helpers.start(target, act, f"{words[0]} cannot be started")
        os.close(ready)
        ready = -1
        if not os.read(reader, 64):
            helper.close()
            raise HostError(f"{words[0]} cannot carry the network: {_text(said)}", lacks(words[0]))
    finally:
        for fd in (reader, said, *([ready] if ready >= 0 else [])):
            os.close(fd)


def _be_root_of_the_namespace() -> None:
    """Who enters a user namespace keeps an id that may mean nothing there."""
    with contextlib.suppress(OSError):
        linux.setresgid(0, 0, 0)
        linux.setresuid(0, 0, 0)
    linux.prctl(linux.Prctl.SET_DUMPABLE, 1)
    linux.prctl(linux.Prctl.SET_PDEATHSIG, signal.SIGKILL)


def _text(said: int) -> str:
    os.lseek(said, 0, os.SEEK_SET)
    lines = os.read(said, 1 << 16).decode(errors="replace").strip().splitlines()
    # An old pasta complains that it cannot complain to the system's log.
    return "; ".join(line for line in lines if "to syslog" not in line) or "it said nothing"


def lacks(program: str) -> str:
    """What keeps a program from working here, in words; '' if nothing that can be seen."""
    if not programs.find(program):
        return f"{program} is not installed (as root: apt-get install {PACKAGES[program]})"
    if not os.access(TAP, os.R_OK | os.W_OK):
        return (
            f"{TAP} cannot be opened (as root: chmod 666 {TAP})" if os.path.exists(TAP) else f"there is no {TAP} (modprobe tun)"
        )
    return ""
