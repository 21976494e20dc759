"""What people ask for: sizes, ports, volumes, users, names, options. A value or an InputError, whatever they type.

How much is tried, and how to try more: profile.py.
"""

import argparse
import ipaddress
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scratchlab import cli, commands
from scratchlab.container import Container
from scratchlab.errors import InputError
from scratchlab.journal import check_name
from scratchlab.options import parse_volume
from scratchlab.stages.cgroups import cpu_quota, memory_size, process_count
from scratchlab.stages.ports import Port, parse_publish
from scratchlab.stages.privileges import Identity, parse_user
from scratchlab.stages.sizes import parse_size, whole_disk
from scratchlab.stages.subnets import parse_address, parse_interface, parse_network
from tests.fuzz.profile import any_text, damaged, examples, json_values, numbers, outcome

PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/srv:\n# a comment\n0:x:7:7::/:\n"
GROUP = "root:x:0:\nwww:x:33:web,root\n"


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the one in conftest.py: nothing here touches the machine."""


def refused_or(kind: type | tuple[type, ...], act: Callable[..., Any], *arguments: Any) -> None:
    """The outcome is a value of this type, or an InputError: what cannot be right is the asker's affair, not ours."""
    assert isinstance(outcome(act, *arguments), (kind, InputError) if isinstance(kind, type) else (*kind, InputError))


# -- one value --------------------------------------------------------------------------------------------------------

TYPED = {
    "a size": (parse_size, int, "1e308T"),
    "memory": (memory_size, int, "512MiB"),
    "a share": (cpu_quota, int, "0.5"),
    "a count": (process_count, int, "512"),
    "a port": (parse_publish, Port, "127.0.0.1:8080:80/udp"),
    "a volume": (parse_volume, tuple, "/etc:/data:ro"),
    "a user": (lambda text: parse_user(text, PASSWD, GROUP), Identity, "web:www"),
    "a subnet": (parse_network, ipaddress.IPv4Network, "10.77.0.0/24"),
    "an interface": (parse_interface, (ipaddress.IPv4Interface, ipaddress.IPv6Interface), "10.77.0.2/24"),
    "an address": (parse_address, (ipaddress.IPv4Address, ipaddress.IPv6Address), "fe80::1"),
    "a disk": (whole_disk, str, "7:0"),
    "seconds": (commands._seconds, float, "1.5"),
    "a name": (check_name, type(None), "web-1"),
}


@pytest.mark.parametrize("what", TYPED)
@given(data=st.data())
@examples(150)
def test_what_is_typed_is_a_value_or_refused(what: str, data: st.DataObject) -> None:
    act, kind, valid = TYPED[what]

    refused_or(kind, act, data.draw(damaged(st.just(valid)) | any_text))


@pytest.mark.parametrize("what", ["a size", "memory", "a share", "a count", "a subnet", "an interface", "an address", "a name"])
@given(value=numbers | json_values)
@examples(150)
def test_what_a_program_hands_over_is_a_value_or_refused(what: str, value: object) -> None:
    act, kind, _ = TYPED[what]

    refused_or(kind, act, value)


@given(damaged(st.just("web:www")), damaged(st.just(PASSWD)), damaged(st.just(GROUP)))
@examples(150)
def test_a_user_is_found_in_any_passwd_or_refused(text: str, passwd: str, group: str) -> None:
    refused_or(Identity, parse_user, text, passwd, group)


# -- what was written is read -----------------------------------------------------------------------------------------

ports = st.builds(
    Port, st.ip_addresses(v=4).map(str), st.integers(1, 65535), st.integers(1, 65535), st.sampled_from(["tcp", "udp"])
)


@given(ports)
@examples(100)
def test_a_port_is_read_as_it_is_shown(port: Port) -> None:
    assert parse_publish(str(port)) == port


@given(st.integers(1, 1 << 20), st.sampled_from(["", "k", "M", "G", "T"]), st.sampled_from(["", "b", "B", "iB"]))
@examples(100)
def test_a_size_is_its_number_times_its_unit(number: int, unit: str, suffix: str) -> None:
    assert parse_size(f" {number}{unit}{suffix}") == number * 1024 ** ["", "k", "M", "G", "T"].index(unit)


@given(st.ip_addresses(v=4), st.integers(0, 32))
@examples(100)
def test_a_subnet_is_read_as_it_is_shown(address: ipaddress.IPv4Address, prefix: int) -> None:
    network = ipaddress.IPv4Network((address, prefix), strict=False)

    assert outcome(parse_network, str(network)) == network or prefix > 30


@given(st.integers(0, 1 << 31), st.integers(0, 1 << 31))
@examples(50)
def test_ids_are_read_as_they_are(uid: int, gid: int) -> None:
    assume(uid != 0)
    assert parse_user(f"{uid}:{gid}", PASSWD, GROUP)[:2] == (uid, gid)


# -- the command line -------------------------------------------------------------------------------------------------

OPTIONS = [
    "-p", "--publish", "--cpus", "--memory", "--pids", "--hostname", "--name", "-e", "--env", "-w", "-u", "--user", "-v",
    "--volume", "--cap-add", "--cap-drop", "--security-opt", "--userns",
    "--network", "--read-only", "--chroot", "--without", "--dry-run", "--help", "--", "-x", "--from", "-t",
]  # fmt: skip
VALUES = [
    "8080:80", "0.5", "512M", "none", "web", "A=b", "=", "0:0", "/etc:/data", "veth", "host", "pivot", "unshare_mount",
    "/nowhere", "true", "", "run", "ps", "exec", "stop", "rootfs", "create", "busybox", "\udcff",
]  # fmt: skip
COMMANDS = [
    "run",
    "ps",
    "exec",
    "stop",
    "clean",
    "rootfs",
    "doctor",
    "tour",
    "compare",
    "scoreboard",
    "ablate",
    "--version",
]
words = st.lists(st.sampled_from(OPTIONS) | st.sampled_from(VALUES) | any_text.filter(lambda text: "\0" not in text), max_size=8)


@given(st.sampled_from(COMMANDS), words)
@examples(400)
def test_any_words_are_parsed_or_refused_with_status_2(command: str, typed: list[str]) -> None:
    try:
        parsed = outcome(cli.parser().parse_args, [command, *typed])
    except SystemExit as ending:
        assert ending.code in (0, 2)
    else:
        assert isinstance(parsed, argparse.Namespace) and callable(parsed.act)


@given(words)
@examples(400)
def test_a_plan_is_printed_or_refused_with_status_2_whatever_is_typed(typed: list[str]) -> None:
    try:
        status = outcome(cli.main, ["run", "--dry-run", *typed])
    except SystemExit as ending:
        status = ending.code
    assert status in (0, 2)


@given(st.lists(any_text, max_size=4))
@examples(100)
def test_an_environment_is_what_was_given_or_refused(typed: list[str]) -> None:
    refused_or(dict, commands._environment, typed)


@given(data=st.data())
@examples(200)
def test_any_container_has_a_plan_or_is_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    value = numbers | json_values | any_text | st.sampled_from(VALUES)
    names = data.draw(st.lists(st.sampled_from(Container._fields[2:]), max_size=3, unique=True))
    fields = {name: data.draw(value) for name in names}

    refused_or(list, lambda: Container("/", ("true",), **fields).plan())


def test_a_command_that_is_no_utf_8_can_be_listed(tmp_path: Path) -> None:
    from tests.command_line import ENVIRONMENT, scratchlab

    done = scratchlab(
        "run", "--dry-run", "--hostname", os.fsdecode(b"h\xff"), tmp_path, "x", env={**ENVIRONMENT, "LC_ALL": "C.UTF-8"}
    )

    assert (done.returncode, done.stderr) == (0, "")
