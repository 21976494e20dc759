"""What bad input gets: one clear message, the right exit status, and nothing left behind (conftest looks after each test)."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from scratchlab import linux
from scratchlab.linux import Clone, Mount
from tests.command_line import complains, running
from tests.conftest import in_child, needs_root

pytestmark = needs_root


# -- the root filesystem and the command ------------------------------------------------------------------------------


def test_a_root_filesystem_must_be_a_directory_and_not_the_hosts(tmp_path: Path) -> None:
    complains(2, "no root filesystem at '/nowhere'\n  hint: make one: scratchlab rootfs create", "run", "/nowhere", "true")
    complains(2, "/etc/hostname is not a directory", "run", "/etc/hostname", "true")
    complains(2, f"{tmp_path} is empty", "run", tmp_path, "true")
    for root in ("/", "/..", "/usr/.."):
        complains(2, "this machine's own root", "run", root, "ls")


def test_a_command_must_be_there_and_executable(rootfs: Path, busybox_rootfs: Path) -> None:
    complains(127, "there is no 'nohap' in .*\n  hint: scratchlab found these instead: nohup", "run", rootfs, "nohap")
    complains(126, "/etc/passwd may not be executed by anybody", "run", rootfs, "/etc/passwd")
    complains(126, "/etc is a directory", "run", rootfs, "/etc")
    complains(2, "no command given", "run", rootfs)
    complains(2, "no command given", "run", rootfs, "")
    complains(2, "no command given", "run", rootfs, "--")


def test_a_missing_loader_is_named_and_not_the_program(busybox_rootfs: Path) -> None:
    stray = busybox_rootfs / "bin/stray"
    stray.write_bytes(Path("/bin/ls").read_bytes())
    stray.chmod(0o755)
    try:
        complains(126, "ld-linux.*, which /bin/stray needs, is not in the root filesystem", "run", busybox_rootfs, "stray")
    finally:
        stray.unlink()


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--cpus", "0", "--cpus 0: .* not above zero"),
        ("--cpus", "-1", "not above zero"),
        ("--cpus", "nan", "not above zero"),
        ("--cpus", "9999", "asked for 9999 CPUs, and this machine has"),
        ("--cpus", "a fifth", "'a fifth' is no number"),
        ("--memory", "0", "not above zero"),
        ("--memory", "-1G", "not above zero"),
        ("--memory", "9999T", "and this machine has"),
        ("--memory", "much", "is no number"),
        ("--memory", "nan", "not above zero"),
        ("--pids", "0", "not above zero"),
        ("--pids", "1.5", "not a whole number"),
        ("--pids", "few", "is no number"),
        ("--pids", "99999999", "and this machine has"),
        ("--publish", "80", "needs a port here and a port in the container"),
        ("--publish", "0:80", "port 0 is out of range"),
        ("--publish", "80:65536", "port 65536 is out of range"),
        ("--publish", "a:b", "'a' is not a port number"),
        ("--publish", "80:80/icmp", "neither tcp nor udp"),
        ("--publish", "300.1.1.1:80:80", "not an IPv4 address"),
        ("--publish", "[::1]:80:80", "IPv6 is not supported"),
        ("--volume", "data", "not SRC:DST"),
        ("--volume", "/etc:data", "not SRC:DST"),
        ("--volume", "/etc:/data:rx", "not SRC:DST"),
        ("--volume", "/nowhere:/data", "/nowhere does not exist on the host"),
        ("--env", "=value", "no name"),
        ("--name", "a/b", "cannot name a sandbox"),
        ("--name", "../x", "cannot name a sandbox"),
        ("--name", "x" * 41, "cannot name a sandbox"),
        ("--user", "nobody-here", "no user 'nobody-here'"),
        ("--user", "0:nobody-here", "no group 'nobody-here'"),
        ("--network", "wifi", "--network wifi: no such network\n  hint: choose one of veth"),
        ("--hostname", "h" * 65, "the kernel takes at most 64"),
        ("--hostname", "", "the hostname is empty"),
    ],
)
def test_a_value_that_cannot_be_right_is_refused(rootfs: Path, option: str, value: str, message: str) -> None:
    complains(2, message, "run", f"{option}={value}", rootfs, "true")


def test_a_missing_working_directory_is_named(rootfs: Path) -> None:
    complains(125, '"/nowhere".*\n  hint: the working directory must exist', "run", "--workdir", "/nowhere", rootfs, "true")


@pytest.mark.parametrize(
    "words", [("fly",), ("run", "--fly"), ("run",), ("exec",), ("rootfs",), ("stop",), ("ps", "now")], ids=" ".join
)
def test_wrong_usage_is_one_line_and_where_to_read_more(words: tuple[str, ...]) -> None:
    complains(2, "hint: see `scratchlab.* --help`", *words)


def test_a_container_that_does_not_run_is_named() -> None:
    complains(125, "no container 'nobody' runs", "exec", "nobody", "true")
    complains(125, "no container 'nobody' runs", "stop", "nobody")
    complains(2, "--time soon: not a time", "stop", "--time", "soon", "nobody")
    complains(2, "no command given", "exec", "nobody")


# -- ports ------------------------------------------------------------------------------------------------------------


def test_a_port_that_is_in_use_is_refused_and_its_holder_named(rootfs: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        complains(125, rf"port {port}/tcp is in use by .* \(pid {os.getpid()}\)", "run", "-p", f"{port}:80", rootfs, "true")


def test_two_containers_cannot_have_one_port(rootfs: Path) -> None:
    with running("run", "--name", "first", "-p", "15793:80", rootfs, "bash", "-c", "echo ready; sleep 1000", says="ready"):
        complains(125, "port 15793/tcp is in use by sandbox 'first'", "run", "-p", "127.0.0.1:15793:81", rootfs, "true")
    complains(2, "port 15793 of the host is given twice", "run", "-p", "15793:80", "-p", "15793:81", rootfs, "true")


def test_ports_need_a_network_and_an_address_of_this_host(rootfs: Path) -> None:
    complains(2, "--publish needs a network of its own", "run", "--network", "none", "-p", "15793:80", rootfs, "true")
    complains(125, "203.0.113.1 is not an address of this host", "run", "-p", "203.0.113.1:15793:80", rootfs, "true")


# -- the machine ------------------------------------------------------------------------------------------------------


def test_without_root_what_needs_it_says_so_and_what_does_not(rootfs: Path) -> None:
    complains(125, "you are not root.*\n  hint: sudo scratchlab .*without root, .*unshare_user", "tour", rootfs, nobody=True)
    complains(125, "--network veth needs root", "run", "--network", "veth", rootfs, "true", nobody=True)
    complains(125, "--userns host needs root", "run", "--userns", "host", rootfs, "true", nobody=True)
    complains(125, "--cpus 1 cannot be set: .*\n  hint: --cpus none", "run", "--cpus", 1, rootfs, "true", nobody=True)
    complains(125, "no container 'x' runs", "exec", "x", "true", nobody=True)
    complains(2, "cannot be opened: Permission denied", "run", rootfs, "true", nobody=True)


def on_a_lesser_machine(lack: Callable[[], None], *check: object) -> None:
    """Check in a mount namespace of its own, after something is taken away there."""

    def act() -> None:
        linux.unshare(Clone.NEWNS)
        linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)
        lack()
        complains(*check)  # type: ignore[arg-type]

    in_child(act)


def test_a_missing_packet_filter_library_is_named_and_the_way_without_it(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (library,) = {os.path.realpath(path) for path in Path("/usr/lib").glob("*/libnftables.so.1")}

    def lack() -> None:
        linux.mount(str(tmp_path / "empty"), library, None, Mount.BIND)

    on_a_lesser_machine(
        lack, 125, "libnftables.so.1 .*\n  hint: install it .*leave out nat and input_drop", "run", rootfs, "true"
    )


def test_a_missing_kernel_feature_is_named_by_its_system_call(rootfs: Path) -> None:
    def lack() -> None:
        # In a user namespace with the same ids, of which the kernel takes a number of each kind of namespace, here none.
        linux.unshare(Clone.NEWUSER)
        for name, text in (("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")):
            Path("/proc/self", name).write_text(text)
        Path("/proc/sys/user/max_ipc_namespaces").write_text("0")

    why = r"unshare\(flags=NEWIPC\): .*ENOSPC.*\n  hint: user.max_ipc_namespaces is 0"
    on_a_lesser_machine(lack, 125, why, "run", rootfs, "true")
