"""A host to throw away, for lessons that would change the real one."""

from scratchlab import linux
from scratchlab.sandbox import Sandbox
from scratchlab.stages import private_mounts, step, unshare_mount


def shared_host() -> Sandbox:
    """A process whose mounts are a copy of the host's, all of them shared: as systemd leaves those of a whole machine."""
    host = Sandbox("host")
    host.play([step(unshare_mount), step(private_mounts), step(_share_all)])
    return host


def _share_all() -> None:
    linux.mount(None, "/", None, linux.Mount.REC | linux.Mount.SHARED)
