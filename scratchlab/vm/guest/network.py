"""A network of our own in the guest, over which host and guest talk: nothing that a learner does to theirs cuts the line.

    network namespace of the guest      eth0 10.0.2.15     the learner's: addresses, rules, routes, all may be broken
    network namespace of the agent      eth1 10.0.3.15     port 5000 for commands, 5001 to 5005 for the Jupyter kernel

Only sockets live in the second one. A socket stays in the namespace that it was made in, and so do those that it accepts
(network_namespaces(7)); so each process steps in there, makes its sockets, and steps out again.
"""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from scratchlab import linux
from scratchlab.vm.guest.frames import ADDRESS, PORT


class OwnNetwork:
    """The second network namespace. It lives as long as this object, or a socket in it."""

    def __init__(self) -> None:
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY)
        linux.unshare(linux.Clone.NEWNET)
        self._own = os.open("/proc/self/ns/net", os.O_RDONLY)
        linux.setns(self._home, linux.Clone.NEWNET)
        _ip(f"link set eth1 netns /proc/{os.getpid()}/fd/{self._own}")
        with self.inside():
            _ip("link set lo up", f"addr add {ADDRESS}/24 dev eth1", "link set eth1 up")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Make sockets here."""
        linux.setns(self._own, linux.Clone.NEWNET)
        try:
            yield
        finally:
            linux.setns(self._home, linux.Clone.NEWNET)

    def listen(self) -> socket.socket:
        """A socket on which commands are asked for."""
        with self.inside():
            return socket.create_server((ADDRESS, PORT), backlog=64)


def _ip(*lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
