"""The packet filter, against nft(8)."""

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from scratchlab import linux
from scratchlab.errors import InputError, KernelError
from scratchlab.linux import netlink, nftables
from tests.conftest import in_child, needs, needs_root

pytestmark = [needs_root, needs(nftables.available(), "needs libnftables: apt install nftables")]

TABLE = """
create table ip scratchlab-test { comment "0123abcd"; }
add chain ip scratchlab-test forward { type filter hook forward priority filter; }
add rule ip scratchlab-test forward oifname "veth-x" ct status dnat accept
"""


def alone(act: Callable[[], Any]) -> Any:
    def there() -> Any:
        linux.unshare(linux.Clone.NEWNET)
        return act()

    return in_child(there)


def nft(*words: str) -> str:
    return subprocess.run(["nft", *words], capture_output=True, text=True, check=True).stdout


def test_what_we_list_is_what_nft_lists() -> None:
    def look() -> None:
        nftables.run(TABLE)

        assert nftables.listed("ip scratchlab-test") == nft("list", "table", "ip", "scratchlab-test")
        theirs = json.loads(nft("--json", "list", "table", "ip", "scratchlab-test"))["nftables"]
        assert nftables.rules("ip scratchlab-test") == [entry for entry in theirs if "metainfo" not in entry]
        assert nftables.tables() == ["ip scratchlab-test"]

    alone(look)


def test_commands_are_done_all_or_not_at_all() -> None:
    def look() -> list[str]:
        with pytest.raises(KernelError, match="ENOENT"):
            nftables.run(TABLE + "add rule ip scratchlab-test nowhere drop")
        return nftables.tables()

    assert alone(look) == []


def test_a_table_that_exists_is_an_error_in_the_words_of_nft() -> None:
    def look() -> None:
        nftables.run(TABLE)
        nftables.run(TABLE)

    with pytest.raises(KernelError, match=r"EEXIST(.|\n)*nft says: Error: Could not process rule: File exists"):
        alone(look)


def test_a_command_that_is_none_is_an_input_error() -> None:
    with pytest.raises(InputError, match="syntax error"):
        alone(lambda: nftables.run("list foo"))


def test_a_table_is_removed_only_if_it_bears_our_comment() -> None:
    def look() -> list[list[str]]:
        nftables.run(TABLE)
        seen = []
        for comment in ("not ours", "0123abcd", "0123abcd"):
            nftables.remove_table("ip scratchlab-test", comment)
            seen.append(nftables.tables())
        return seen

    assert alone(look) == [["ip scratchlab-test"], [], []]


def test_rules_belong_to_the_network_namespace_of_the_caller() -> None:
    def look() -> None:
        nftables.run(TABLE)

        assert netlink.in_netns(os.getppid(), nftables.tables) != nftables.tables()
        assert in_child(nftables.tables) == nftables.tables() == ["ip scratchlab-test"]

    alone(look)


def test_a_table_that_drops_what_is_forwarded_is_named() -> None:
    def look() -> list[str]:
        nftables.run(TABLE)
        nftables.run("add table ip strict\nadd chain ip strict f { type filter hook forward priority filter; policy drop; }")
        return nftables.forward_drops()

    assert alone(look) == ["ip strict"]


def test_without_the_right_nothing_is_available() -> None:
    def look() -> bool:
        linux.setresuid(65534, 65534, 65534)
        return nftables.available()

    assert alone(look) is False


def test_the_ledger_shows_the_commands() -> None:
    def look() -> list[str]:
        with linux.recording() as calls:
            nftables.run("add table ip t")
        return [str(call) for call in calls]

    assert alone(look) == ['nft(commands="add table ip t") = 0']
