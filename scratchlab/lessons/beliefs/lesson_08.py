"""User namespaces: what many believe, and experiments that refute it."""

import os
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

from scratchlab import linux, stages
from scratchlab.errors import KernelError
from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.lessons.experiments import inside
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step

_FIRST, _COUNT = 100000, 65536
_ROOT_OF_ITS_OWN = (step(stages.unshare_user), step(stages.map_ids, 0, _FIRST, _COUNT), step(stages.user, 0))


def owner_of_roots_file() -> int:
    """Let root of a user namespace make a file, and ask the host whose it is."""
    with TemporaryDirectory() as place, Sandbox("experiment") as box:
        os.chmod(place, 0o777)
        box.play([*_ROOT_OF_ITS_OWN, step(Path(place, "file").touch)])
        return Path(place, "file").stat().st_uid


def device_with_every_power() -> str:
    """Have every capability, and make a device node."""
    with TemporaryDirectory() as place:

        def act() -> str:
            try:
                linux.mknod(f"{place}/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
            except KernelError as error:
                return KernelError.symbol(error.errno or 0)
            return ""

        return str(inside(act, stages.unshare_user))


def nobody_reads_roots_file() -> bool:
    """In a user namespace without a map, root is shown as 65534. Can it read what only root may?"""
    with TemporaryDirectory() as place, Sandbox("experiment") as box:
        secret = Path(place, "secret")
        secret.write_text("swordfish")
        secret.chmod(0o600)
        box.play([step(stages.unshare_user)])
        return box.run("id", "-u").out == "65534" and box.run("cat", str(secret)).out == "swordfish"


def neighbour_with_the_same_map_reads() -> bool:
    """Two user namespaces with one map: may root of the second read a private file of the first?"""
    with TemporaryDirectory() as place, Sandbox("first") as first, Sandbox("second") as second:
        os.chmod(place, 0o777)
        for box in (first, second):
            box.play(_ROOT_OF_ITS_OWN)
        first.run("sh", "-c", f"umask 077; echo swordfish > {place}/secret")
        return second.run("cat", f"{place}/secret").out == "swordfish"


BELIEFS = {
    "root-inside-is-root": Belief(
        "Root in a container is root.",
        "Root of a user namespace, whose ids 0 to 65535 mean 100000 to 165535 outside, makes a file. Whose is it, on the host?",
        {"root's, 0": 0, "100000's": _FIRST, "nobody's, 65534": 65534},
        owner_of_roots_file,
    ),
    "a-capability-is-a-capability": Belief(
        "Who has CAP_MKNOD can make device nodes.",
        "A process in a new user namespace has every capability. It makes a node for /dev/null. What does the kernel say?",
        {"nothing, it works": "", "EPERM": "EPERM"},
        device_with_every_power,
    ),
    "nobody-is-a-user": Belief(
        "65534 is a user without rights.",
        "root unshares its user namespace. `id -u` says 65534 now. Can it still read a file that only root may read?",
        {"no, it is nobody": False, "yes": True},
        nobody_reads_roots_file,
    ),
    "a-user-namespace-is-a-wall": Belief(
        "Two containers with user namespaces cannot touch each other's files.",
        "Two containers have a user namespace each, both with the map 0 → 100000. Can root of one read the other root's files?",
        {"no, the namespaces are two": False, "yes, the id outside is one": True},
        neighbour_with_the_same_map_reads,
    ),
}  # fmt: skip
