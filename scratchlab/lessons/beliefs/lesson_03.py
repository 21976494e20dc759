"""Mounts: what many believe, and experiments that refute it."""

from collections.abc import Callable
from typing import Any

from scratchlab import linux, stages
from scratchlab.attacks import weaknesses
from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.lessons.hosts import shared_host
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step


def mount_arrives_on_a_shared_host() -> bool:
    """Unshare on a host whose mounts are all shared, and mount."""
    return _arrives(lambda: linux.mount("tmpfs", "/mnt", "tmpfs"))


def mount_below_a_shared_mount() -> bool:
    """The same, after / alone was made private, on a directory that lies in another mount."""

    def act() -> None:
        linux.mount(None, "/", None, linux.Mount.PRIVATE)
        linux.mount("tmpfs", "/dev/shm", "tmpfs")

    return _arrives(act)


def _arrives(act: Callable[[], Any]) -> bool:
    """Whether something that is mounted in a new namespace is mounted on the throw-away host, too."""
    with shared_host() as host, Sandbox("experiment") as box:
        box.play([step(weaknesses.stand_on, f"/proc/{host.pid}/ns/mnt")])
        before = len(host.snapshot().mounts)
        box.play([step(stages.unshare_mount), step(act)])
        return len(host.snapshot().mounts) > before


BELIEFS = {
    "a-mount-namespace-is-a-copy": Belief(
        "A mount namespace is a copy, so nothing leaks out of it.",
        "The host's mounts are shared. A process unshares its mount namespace and mounts something. Does the host see it?",
        {"no, it has a copy": False, "yes": True},
        mount_arrives_on_a_shared_host,
    ),
    "private-once-is-private": Belief(
        "To make / private takes all that is mounted below it along.",
        "Make / private without REC, then mount below /dev, which is shared still. Does the host see that?",
        {"no, / is private": False, "yes, /dev is a mount of its own": True},
        mount_below_a_shared_mount,
    ),
}  # fmt: skip
