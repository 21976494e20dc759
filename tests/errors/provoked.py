"""Real failures, each in a child of its own: what the kernel refuses, and what our error says of it."""

import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from scratchlab import linux
from scratchlab.errors import KernelError, keep_causes
from scratchlab.linux import CapSets, Clone, Mount
from tests.conftest import in_child

Act = Callable[[], Any]
NOBODY = 65534

keep_causes()  # as a keeper does for its agents: some of what follows leaves Python's files behind


def refusal(act: Act) -> KernelError:
    """The KernelError that `act` must end with."""
    with pytest.raises(KernelError) as caught:
        in_child(act)
    return caught.value


def says(act: Act, symbol: str, pattern: str) -> KernelError:
    """Check that `act` fails with this errno and a hint that says this."""
    error = refusal(act)
    assert KernelError.symbol(error.errno or 0) == symbol, str(error)
    assert re.search(pattern, error.hint), str(error)
    return error


def without_capabilities() -> None:
    linux.capset(CapSets(0, 0, 0))


def nobody() -> None:
    """An ordinary user, as after logging in."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    linux.prctl(linux.Prctl.SET_DUMPABLE, 1)


def own_mounts() -> None:
    """A mount table that nobody else sees."""
    linux.unshare(Clone.NEWNS)
    linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)


def own_user_namespace(*more: Clone, inside: int = 0) -> None:
    """A user namespace with one id, and namespaces that it owns."""
    uid, gid = os.geteuid(), os.getegid()
    linux.unshare(sum(more, Clone.NEWUSER))
    linux.write_file("/proc/self/setgroups", "deny")
    linux.write_file("/proc/self/uid_map", f"{inside} {uid} 1")
    linux.write_file("/proc/self/gid_map", f"{inside} {gid} 1")


def open_(path: object, flags: int = os.O_RDONLY) -> int:
    """open(2) through the choke point, as our own code does it."""
    from scratchlab.linux.ledger import Bare, record

    return record("open", {"pathname": str(path), "flags": Bare(hex(flags))}, lambda: os.open(str(path), flags, 0o600))


def call(name: str, act: Act, **arguments: object) -> Any:
    """Any other call of Python's, by the manual page's name and arguments."""
    from scratchlab.linux.ledger import record

    return record(name, arguments, act)
