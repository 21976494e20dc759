"""A whole container: what many believe, and experiments that refute it."""

from pathlib import Path
from tempfile import TemporaryDirectory

from scratchlab.container import Container
from scratchlab.lessons import orders
from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.linux import numbers
from scratchlab.rootfs import create
from scratchlab.stages import pivot, private_mounts, proc, step, unshare_mount, unshare_pid
from scratchlab.trials import scoreboard


def calls_named_after_containers() -> str:
    """Look through the names of all system calls."""
    found = [name for name in numbers.here() if "container" in name]
    return "some" if found else "none"


def proc_before_pivot() -> str:
    """The same five steps, with the last two exchanged."""
    with TemporaryDirectory() as place:
        root = str(create(Path(place, "root"), "busybox"))
        first = [step(stage) for stage in (unshare_mount, private_mounts, unshare_pid)]
        return orders.build([*first, step(proc), step(pivot, root)]).outcome


def own_root_and_nothing_else_for_processes() -> bool:
    """The default container without its PID namespace: does an attack get out?"""
    with TemporaryDirectory() as place:
        container = Container(str(create(Path(place, "root"), "busybox")), (), network="none", cpus=None, memory=None, pids=None)
        return bool(scoreboard(container.without("unshare_pid"), "host_processes").got_out)


BELIEFS = {
    "the-kernel-has-containers": Belief(
        "There is a container object in the kernel.",
        "Linux has hundreds of system calls. How many have a container in their name?",
        {"some: create, start and stop": "some", "none": "none"},
        calls_named_after_containers,
    ),
    "an-order-is-a-matter-of-taste": Belief(
        "The same steps give the same container, or else an error.",
        "In an order that works, proc and pivot are exchanged. What comes of it?",
        {"the same container": orders.WORKS, "an error": orders.BY_KERNEL, "a wrong one, without an error": orders.WRONG},
        proc_before_pivot,
    ),
    "one-wall-more-or-less": Belief(
        "With so many walls, one may be missing.",
        "The default container is built without its PID namespace, and with all other walls. Is any attack successful now?",
        {"no, there are many others": False, "yes": True},
        own_root_and_nothing_else_for_processes,
    ),
}  # fmt: skip
