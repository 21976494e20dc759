"""Other programs look at the same process, and must say the same as we do."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from scratchlab import linux
from scratchlab.linux import NAMESPACES, Clone, Mount, proc
from scratchlab.linux.netlink import Link
from scratchlab.observe import Snapshot
from tests.conftest import needs, needs_root
from tests.observe.held import Held, held

pytestmark = needs_root


def program(name: str, package: str) -> pytest.MarkDecorator:
    return needs(which(name), f"needs {name}: apt install {package}")


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def isolate() -> None:
    linux.unshare(Clone.NEWNS | Clone.NEWUTS | Clone.NEWIPC | Clone.NEWNET | Clone.NEWCGROUP)
    linux.sethostname("reference")
    linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)
    linux.mount("odd source", "/mnt", "tmpfs", Mount.NOSUID | Mount.NODEV, "size=1m")
    Path("/mnt/a b").mkdir()
    linux.mount("/etc", "/mnt/a b", None, Mount.BIND)
    linux.mount(None, "/mnt/a b", None, Mount.BIND | Mount.REMOUNT | Mount.RDONLY)
    linux.mount(None, "/mnt", None, Mount.SHARED)
    for command in (
        "ip link set lo up",
        "ip link add br0 type bridge",
        "ip link add eth0 mtu 1400 type veth peer name eth1",
        "ip link set eth1 master br0",
        "ip link set eth0 up",
        "ip link set eth1 up",
        "ip address add 172.22.9.2/24 dev eth0",
        "ip -6 address add fd00:22::2/64 dev eth0 nodad",
        "ip route add default via 172.22.9.1",
        "nft create table ip scratchlab-reference",
        "nft add chain ip scratchlab-reference out { type filter hook output priority 0 ; }",
        "nft add rule ip scratchlab-reference out tcp dport 8080 drop",
    ):
        subprocess.run(command.split(), check=True)


@pytest.fixture
def child() -> Iterator[Held]:
    with held(isolate, done=1) as isolated:
        yield isolated


# -- namespaces -------------------------------------------------------------------------------------------------------


@program("lsns", "util-linux")
def test_lsns_gives_the_same_namespaces(child):
    listed = json.loads(said("lsns", "--json", "--task", str(child.pid), "--output", "NS,TYPE"))["namespaces"]

    ours = Snapshot.of(child.pid).namespaces
    assert {row["type"]: int(row["ns"]) for row in listed} == {kind: ours[kind] for kind in NAMESPACES}


@program("nsenter", "util-linux")
def test_nsenter_finds_the_same_hostname(child):
    name = said("nsenter", "--target", str(child.pid), "--uts", "hostname").strip()

    assert name == Snapshot.of(child.pid).hostname == "reference"


def changed_by(pid: int) -> set[str]:
    ours, theirs = Snapshot.of(os.getpid()).namespaces, Snapshot.of(pid).namespaces
    return {kind for kind in theirs if theirs[kind] != ours[kind]}


@program("unshare", "util-linux")
@pytest.mark.parametrize(
    ("option", "flag"),
    [
        ("--uts", Clone.NEWUTS), ("--ipc", Clone.NEWIPC), ("--mount", Clone.NEWNS), ("--net", Clone.NEWNET),
        ("--user", Clone.NEWUSER), ("--cgroup", Clone.NEWCGROUP), ("--time", Clone.NEWTIME), ("--pid", Clone.NEWPID),
    ],
)  # fmt: skip
def test_unshare_changes_the_same_namespaces_as_ours(option, flag):
    with held(lambda: linux.unshare(flag), done=1) as child:
        ours = changed_by(child.pid)

    # It says a word when it is there, and is gone when its standard input closes.
    theirs = subprocess.Popen(
        ["unshare", option, "sh", "-c", "echo here; read word"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with theirs:
        assert theirs.stdout.readline() == b"here\n"
        # unshare executes the program, and only then is the time namespace entered.
        assert changed_by(theirs.pid) - {"time"} == ours - {"time"}
        theirs.stdin.close()


# -- mounts -----------------------------------------------------------------------------------------------------------


@program("findmnt", "util-linux")
def test_findmnt_gives_the_same_mounts_in_the_same_order(child):
    columns = "ID,PARENT,MAJ:MIN,FSROOT,TARGET,VFS-OPTIONS,PROPAGATION,FSTYPE,SOURCE,FS-OPTIONS"
    table = said("findmnt", "--json", "--list", "--task", str(child.pid), "--output", columns)

    theirs = [tuple(str(value) for value in row.values()) for row in json.loads(table)["filesystems"]]
    ours = [tuple(map(str, mount)) for mount in Snapshot.of(child.pid).mounts]
    assert [in_findmnts_words(row) for row in ours] == [in_findmnts_words(row) for row in theirs]
    assert any(row[4] == "/mnt/a b" and row[3] == "/etc" for row in ours)


def in_findmnts_words(row: tuple[str, ...]) -> tuple[str, ...]:
    """It leaves out the numbers of peer groups, and writes the part of the filesystem in the source too."""
    number, parent, device, root, target, options, propagation, fstype, source, super_options = row
    source = source.removesuffix(f"[{root}]")
    return number, parent, device, root, target, options, propagation.partition(":")[0], fstype, source, super_options


# -- network ----------------------------------------------------------------------------------------------------------


def ip(pid: int, *words: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(said("nsenter", "--target", str(pid), "--net", "ip", "-json", "-details", *words))
    return rows


@program("ip", "iproute2")
def test_ip_gives_the_same_links(child):
    rows = ip(child.pid, "link")
    index = {row["ifname"]: row["ifindex"] for row in rows}  # it says the other end of a cable by name, if that is here too
    theirs = [
        Link(
            row["ifname"], row["ifindex"], row.get("linkinfo", {}).get("info_kind", ""), row["address"], "UP" in row["flags"],
            row["mtu"], row.get("master", ""), index.get(row.get("link"), row.get("link_index", 0)),
        )
        for row in rows
    ]  # fmt: skip

    ours = Snapshot.of(child.pid).links
    assert sorted(ours) == sorted(theirs)
    assert {link.name for link in ours} == {"lo", "br0", "eth0", "eth1"}


@program("ip", "iproute2")
def test_ip_gives_the_same_addresses(child):
    theirs = {
        (link["ifname"], f"{address['local']}/{address['prefixlen']}")
        for link in ip(child.pid, "address")
        for address in link["addr_info"]
    }

    # The kernel adds fe80:: to a link that is up in its own time.
    ours = {address for address in Snapshot.of(child.pid).addresses if not address.address.startswith("fe80")}
    assert ours == {row for row in theirs if not row[1].startswith("fe80")}
    assert ("eth0", "172.22.9.2/24") in ours


@program("ip", "iproute2")
def test_ip_gives_the_same_routes(child):
    def rows(version: str) -> set[tuple[str, ...]]:
        found = ip(child.pid, version, "route", "show", "table", "main")
        return {(row["dst"], row.get("gateway", ""), row["dev"]) for row in found if not row["dst"].startswith("fe80")}

    ours = {route for route in Snapshot.of(child.pid).routes if not route.destination.startswith("fe80")}
    assert ours == rows("-4") | rows("-6")
    assert ("default", "172.22.9.1", "eth0") in ours


@program("nft", "nftables")
def test_nft_gives_the_same_rules(child):
    enter = ("nsenter", "--target", str(child.pid), "--net", "nft")
    listed = json.loads(said(*enter, "--json", "list", "tables"))["nftables"]
    theirs = {f"{row['table']['family']} {row['table']['name']}" for row in listed if "table" in row}

    ours = Snapshot.of(child.pid).nft_tables

    assert ours.keys() == theirs == {"ip scratchlab-reference"}
    assert ours["ip scratchlab-reference"].strip() == said(*enter, "list", "table", "ip", "scratchlab-reference").strip()


# -- privileges -------------------------------------------------------------------------------------------------------


@program("capsh", "libcap2-bin")
@pytest.mark.parametrize("mask", ["0", "1", "200400", "a80425fb", "1fffeffffff", "1ffffffffff"])
def test_capsh_decodes_a_mask_to_the_same_names(mask):
    names = said("capsh", f"--decode={mask}").strip().partition("=")[2]

    assert [f"cap_{name.lower()}" for name in proc.parse_capabilities(mask)] == [name for name in names.split(",") if name]


# -- system calls -----------------------------------------------------------------------------------------------------

# Every flag and every wrapper is tried in a process of its own; what it prints is its ledger.
SCRIPT = """
import json, os
from scratchlab import linux
from scratchlab.linux import CapSets, Clone, Mount, Prctl, Umount

def refused(act, *args):
    try:
        act(*args)
    except OSError:
        pass

with linux.recording() as calls:
    linux.unshare(Clone.NEWNS | Clone.NEWUTS | Clone.NEWIPC | Clone.NEWPID)
    linux.sethostname("web")
    linux.setdomainname("example")
    linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)
    linux.mount("tmpfs", "/mnt", "tmpfs", Mount.NOSUID | Mount.NODEV | Mount.NOEXEC | Mount.NOATIME, "size=1m")
    linux.mkdir("/mnt/old")
    linux.mknod("/mnt/null", 0o20666, os.makedev(1, 3))
    linux.symlink("null", "/mnt/link")
    linux.chmod("/mnt/null", 0o666)
    linux.mount("/etc", "/mnt/old", None, Mount.BIND | Mount.REC)
    linux.mount(None, "/mnt/old", None, Mount.BIND | Mount.REMOUNT | Mount.RDONLY | Mount.NOSUID)
    linux.umount2("/mnt/old", Umount.DETACH | Umount.NOFOLLOW)
    refused(linux.umount2, "/mnt/old", Umount.FORCE)
    linux.setns(os.open("/proc/self/ns/uts", os.O_RDONLY), Clone.NEWUTS)
    linux.chdir("/mnt")
    linux.pivot_root("/mnt", "/mnt/old")
    linux.umount2("/old", Umount.DETACH)
    linux.chroot("/")
    linux.setrlimit("RLIMIT_NOFILE", 64, 64)
    linux.setgroups([])
    linux.setresgid(1, 2, 3)
    linux.prctl(Prctl.SET_NO_NEW_PRIVS, 1)
    linux.prctl(Prctl.CAPBSET_DROP, 12)
    linux.capget()
    linux.capset(CapSets(1, 1, 0))
    refused(linux.setresuid, 1, 2, 3)
print(json.dumps([[call.name, list(call.arguments.values()), call.result] for call in calls]))
"""

# What glibc makes of a call, where that is another one.
AS_MADE = {"mknod": "mknodat", "setrlimit": "prlimit64"}

# Left out: their arguments are structs, which the ledger shows in words of its own.
STRUCTS = ("capget", "capset", "prlimit64", "mknodat", "setgroups")


@program("strace", "strace")
def test_strace_sees_the_system_calls_of_the_ledger(tmp_path):
    trace = tmp_path / "trace"
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    names = sorted({AS_MADE.get(name, name) for name in re.findall(r"linux\.([a-z_0-9]+)[(,]", SCRIPT)} - {"recording"})

    command = ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={','.join(names)}", sys.executable, str(script)]
    root = str(Path(__file__).parents[1])
    finished = subprocess.run(command, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, check=True)

    ledger = [(AS_MADE.get(name, name), arguments, result) for name, arguments, result in json.loads(finished.stdout)]
    seen = [parsed for line in trace.read_text().splitlines() if (parsed := parse_strace(line))]
    # Before the first call of ours, and after the last, the interpreter makes some of its own.
    seen = seen[next(number for number, call in enumerate(seen) if call[0] == "unshare") :][: len(ledger)]

    assert [call[0] for call in seen] == [call[0] for call in ledger]
    for (name, theirs, outcome), (_, ours, result) in zip(seen, ledger, strict=True):
        assert (name, outcome) == (name, result if name != "capget" else "0")
        if name not in STRUCTS:
            assert words(name, theirs) == words(name, ours), name


def parse_strace(line: str) -> tuple[str, list[str], str] | None:
    found = re.fullmatch(r"\d+ +(\w+)\((.*)\) += (-?\d+)(?: (E\w+) .*)?", line)
    if not found:
        return None
    name, arguments, result, errno = found.groups()
    return name, arguments.split(", "), errno or result


def words(name: str, arguments: list[str]) -> list[frozenset[str]]:
    """Flags as a set, without the prefixes that the ledger does not repeat; octal numbers as numbers."""
    if name == "prctl":
        arguments = arguments[:2]  # the other three are 0, and mean nothing
    return [frozenset(word(part) for part in argument.split("|")) for argument in arguments]


def word(text: str) -> str:
    text = re.sub(r"^(CLONE_|MS_|MNT_|UMOUNT_|PR_)", "", text)
    text = {"CAP_NET_ADMIN": "12", "&": ""}.get(text, text)
    return str(int(text.removeprefix("0o"), 8)) if re.fullmatch(r"0o?[0-7]+", text) else text
