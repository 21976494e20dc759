"""Hosts to throw away, for lessons that would change the real one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from scratchlab import linux
from scratchlab.lessons.network import FORWARDING, cable, plug_in
from scratchlab.sandbox import Sandbox
from scratchlab.stages import loopback, private_mounts, route, step, unshare_mount, unshare_net


def shared_host() -> Sandbox:
    """A process with a copy of the host's mounts, all of them shared, as systemd leaves a machine."""
    host = Sandbox("host")
    host.play([step(unshare_mount), step(private_mounts), step(_share_all)])
    return host


def _share_all() -> None:
    linux.mount(None, "/", None, linux.Mount.REC | linux.Mount.SHARED)


class Street(NamedTuple):
    """A container, its host, and a machine next door, each in a network of its own; the host is between."""

    web: Sandbox  # 198.51.100.2, by its cable eth0
    host: Sandbox  # 198.51.100.1, by its cable to-web; 203.0.113.1, by to-friend; it forwards, and has no rules
    friend: Sandbox  # 203.0.113.2, by its cable eth0


@contextmanager
def street() -> Iterator[Street]:
    """Three networks in a row, gone at the end of the `with` block."""
    with Sandbox("web") as web, Sandbox("host") as host, Sandbox("friend") as friend:
        for box in (web, host, friend):
            box.play([step(unshare_net), step(loopback)])
        host.play([step(linux.write_file, FORWARDING, "1")])
        for box, name, subnet in ((web, "to-web", "198.51.100"), (friend, "to-friend", "203.0.113")):
            host.play([step(cable, name, "eth0", box.pid), step(plug_in, name, f"{subnet}.1/24")])
            box.play([step(plug_in, "eth0", f"{subnet}.2/24"), step(route, f"{subnet}.1")])
        yield Street(web, host, friend)
