"""pivot_root: what many believe, and experiments that refute it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from scratchlab import linux, stages
from scratchlab.attacks import weaknesses
from scratchlab.errors import KernelError
from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.lessons.hosts import shared_host
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step


@contextmanager
def a_root() -> Iterator[str]:
    """An empty root filesystem, and a file with a secret beside it."""
    with TemporaryDirectory() as place:
        Path(place, "secret").write_text("swordfish")
        Path(place, "root").mkdir()
        yield f"{place}/root"


def neighbour_is_moved() -> bool:
    """Let a second process into the namespace, pivot in the first, and look at the root of the second."""
    with a_root() as root, Sandbox("experiment") as box, Sandbox("neighbour") as neighbour:
        box.play([step(stages.unshare_mount), step(stages.private_mounts)])
        neighbour.play([step(weaknesses.stand_on, f"/proc/{box.pid}/ns/mnt")])
        box.play([step(stages.pivot, root)])
        return os.path.samefile(root, f"/proc/{neighbour.pid}/root")


def detached_can_be_read() -> bool:
    """Hold a directory open while the filesystem around it is unmounted, and read a file by way of it."""
    with a_root() as root, Sandbox("experiment") as box:

        def act() -> str:
            held = os.open(os.path.dirname(root), os.O_RDONLY | os.O_DIRECTORY)
            linux.mount(root, root, None, linux.Mount.BIND)
            linux.chdir(root)
            linux.pivot_root(".", ".")
            linux.umount2(".", linux.Umount.DETACH)
            return os.read(os.open("secret", os.O_RDONLY, dir_fd=held), 100).decode()

        done = box.play([step(stages.unshare_mount), step(stages.private_mounts), step(act)])
        return str(done[-1]["value"]) == "swordfish"


def pivot_among_shared_mounts() -> str:
    """Pivot in a table that is new, but whose mounts are in groups with the host's."""
    with a_root() as root, shared_host() as host, Sandbox("experiment") as box:
        box.play([step(weaknesses.stand_on, f"/proc/{host.pid}/ns/mnt"), step(stages.unshare_mount)])
        try:
            box.play([step(stages.pivot, root)])
        except KernelError as error:
            return error.symbol(error.errno or 0)
        return ""


BELIEFS = {
    "pivot-is-a-better-chroot": Belief(
        "pivot_root is a chroot that holds better: another root for the process that calls it.",
        "Two processes are in one mount namespace, in the same root. One of them calls pivot_root. Whose root directory changes?",
        {"the caller's": False, "that of both": True},
        neighbour_is_moved,
    ),
    "unmounted-is-gone": Belief(
        "What is unmounted can no longer be read.",
        "A process holds a directory open. The filesystem that it is in is detached. Can the process read files in there?",
        {"no, it is unmounted": False, "yes": True},
        detached_can_be_read,
    ),
    "a-mount-point-is-enough": Belief(
        "pivot_root works for every mount point in a new mount namespace.",
        "All mounts of the machine are shared. A process unshares its mount table, and pivots to a mount. What is said?",
        {"nothing, it works": "", "EINVAL": "EINVAL"},
        pivot_among_shared_mounts,
    ),
}  # fmt: skip
