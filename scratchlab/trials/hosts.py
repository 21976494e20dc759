"""Hosts to throw away: a process with a mount table of its own, on which a container may do what would harm the real one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from scratchlab.attacks import weaknesses
from scratchlab.container import APART, Container
from scratchlab.sandbox import Sandbox
from scratchlab.stages import Step, about, private_mounts, step, unshare_mount


class Guest(Container):
    """A container on a host to throw away: what it does to that host's mounts is nobody's harm."""

    def _refuse_harm(self, steps: list[Step]) -> None:
        super()._refuse_harm([item for item in steps if "mnt" not in about(item.stage).needs])


# Walls of the host's own tools, which are in no container's plan: rootfs.layer.unpack.
HOST_WALLS = {"unpack"}

# What a stage makes that others build on.
BUILT_ON = {"veth": ("nat", "input_drop", "publish"), "devices": ("mask",)}


def without(container: Container, *stages: str) -> Container:
    """Leave stages out, each with all that cannot be without it; but not the mounts, for which there is `own_host`."""
    if "unshare_user" in stages:  # its ids and mounts go by an option
        return without(container._replace(userns="host"), *(stage for stage in stages if stage != "unshare_user"))
    left_out = {*container.left_out, *stages}
    for name in stages:
        kind = APART.get(name) if name != "private_mounts" else None
        plan = Guest(*container).plan()
        left_out |= {item.name for item in plan if kind and kind in about(item.stage).needs} | {*BUILT_ON.get(name, ())}
    return container._replace(left_out=frozenset(left_out - HOST_WALLS))


def on_trial(rootfs: str, left_out: Sequence[str]) -> Container:
    """The default container, perhaps without some stages. Raises InputError for what no trial could begin with."""
    container = without(Container(rootfs, ()), *left_out)
    Guest(*container).plan()
    container.check()
    return container


@contextmanager
def own_host() -> Iterator[Sandbox]:
    """A process whose mounts are a copy of the host's, none of them shared with anybody."""
    with Sandbox("host") as host:
        host.play([step(unshare_mount), step(private_mounts)])
        yield host


def stand_on(host: Sandbox) -> Step:
    """The step that puts a sandbox on such a host."""
    return step(weaknesses.stand_on, f"/proc/{host.pid}/ns/mnt")
