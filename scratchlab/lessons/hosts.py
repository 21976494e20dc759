"""A host to throw away, for lessons that would change the real one."""

from scratchlab import linux
from scratchlab.sandbox import Sandbox
from scratchlab.stages import private_mounts, step, unshare_mount


def shared_host() -> Sandbox:
    """A process with a copy of the host's mounts, all of them shared, as systemd leaves a machine."""
    host = Sandbox("host")
    host.play([step(unshare_mount), step(private_mounts), step(_share_all)])
    return host


def _share_all() -> None:
    linux.mount(None, "/", None, linux.Mount.REC | linux.Mount.SHARED)
