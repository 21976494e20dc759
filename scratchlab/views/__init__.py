"""Pictures of what the kernel says, from a live sandbox: text first, and in a notebook an image that says the same."""

from scratchlab.views.cgroup import Groups, cgroup
from scratchlab.views.live import Live, live
from scratchlab.views.mounts import Mounts, mounts
from scratchlab.views.namespaces import Namespaces, namespaces
from scratchlab.views.packet import Packet, packet
from scratchlab.views.picture import Picture
from scratchlab.views.processes import Processes, processes
from scratchlab.views.wiring import Network, wiring

__all__ = [
    "Groups", "Live", "Mounts", "Namespaces", "Network", "Packet", "Picture", "Processes",
    "cgroup", "live", "mounts", "namespaces", "packet", "processes", "wiring",
]  # fmt: skip
