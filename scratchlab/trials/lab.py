"""The lab: what the host lays out around one attack. A secret outside the root filesystem, and processes that hold it."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from scratchlab import linux
from scratchlab.errors import InputError
from scratchlab.journal import Journal
from scratchlab.sandbox import Sandbox
from scratchlab.sandbox.run import Conversation

_PREFIX = ".scratchlab-lab-"


class Lab(NamedTuple):
    """One attack's surroundings, gone when it is over."""

    secret: str  # drawn for this lab: who knows it has been there
    directory: Path  # of the host's, outside the root filesystem but on the same disk
    marker: Path  # a file in it that holds the secret
    volume: Path  # a folder in it to be mounted in the container
    careless: frozenset[str]  # walls that are missing on the host itself


@contextmanager
def lab(near: str, careless: frozenset[str] = frozenset()) -> Iterator[Lab]:
    """A lab beside the directory `near`. It is journalled, so that a killed program's lab goes with the next start."""
    secret = os.urandom(6).hex()
    directory = Path(near).parent / f"{_PREFIX}{os.urandom(6).hex()}"
    journal = Journal.claim("lab")
    try:
        journal.fact(pid=os.getpid(), command=["(bait for an attack)"])
        journal.will("lab", path=str(directory))
        directory.mkdir(mode=0o755)
        marker, volume = directory / "marker", directory / "volume"
        marker.write_text(secret)
        volume.mkdir()
        volume.chmod(0o777)  # for whatever user the container's root is
        yield Lab(secret, directory, marker, volume, careless)
    finally:
        journal.close()


def remove_directory(path: str) -> None:
    """Remove a lab's directory with all that an attack left in it, if there is one."""
    if not Path(path).name.startswith(_PREFIX):
        raise InputError(f"{path} is no directory of a lab")
    shutil.rmtree(path, ignore_errors=not os.path.exists(path))


# -- processes --------------------------------------------------------------------------------------------------------


PASSWORD = "--scratchlab-password"  # an option that no other process of the host has


@contextmanager
def gossip(secret: str) -> Iterator[int]:
    """A process of the host with a password on its command line; gives its pid."""
    talk = Conversation(b"", (None, None))
    with Sandbox("gossip") as host:
        try:
            # It reads from a pipe that nobody writes to, and ends when we close it.
            words = ["sh", "-c", "read never", f"{PASSWORD}={secret}"]
            body = {"do": "run", "argv": words, "env": {"PATH": os.environ.get("PATH", os.defpath)}, "cwd": None}
            pid: int = host.ask(body, talk.theirs).body["ok"]["pid"]
            talk.close(talk.theirs)
            yield pid
        finally:
            talk.close()


# -- servers ----------------------------------------------------------------------------------------------------------


@contextmanager
def listening(family: socket.AddressFamily, address: str | tuple[str, int]) -> Iterator[socket.socket]:
    """A server of the host, on which nobody waits: who connects is found in its queue afterwards.  listen(2)"""
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.bind(address)
        server.listen()
        server.setblocking(False)
        yield server


def greeting(server: socket.socket) -> str:
    """What the first in the queue has to say; "" if nobody came."""
    try:
        caller, _ = server.accept()
    except BlockingIOError:
        return ""
    with caller:
        caller.settimeout(1)
        with suppress(TimeoutError):
            return caller.recv(100).decode(errors="replace")
    return ""


# -- keys -------------------------------------------------------------------------------------------------------------

_USER_KEYRING, _SETPERM, _UNLINK, _SET_TIMEOUT = -4, 5, 9, 15  # KEY_SPEC_USER_KEYRING, KEYCTL_…
_FOR_POSSESSOR_AND_USER = 0x3F3F0000


@contextmanager
def key(secret: str) -> Iterator[str]:
    """A key in the keyring of our user id; gives its description.  keyctl(2)"""
    description = f"scratchlab-{os.urandom(4).hex()}"
    number = linux.add_key("user", description, secret.encode(), _USER_KEYRING)
    linux.keyctl(_SET_TIMEOUT, number, 60)  # for a program that is killed meanwhile
    linux.keyctl(_SETPERM, number, _FOR_POSSESSOR_AND_USER)
    try:
        yield description
    finally:
        linux.keyctl(_UNLINK, number, _USER_KEYRING)
