"""Pictures of what the kernel says, from a live sandbox: text first, and in a notebook an image that says the same."""

from scratchlab.views.cgroup import Groups, cgroup
from scratchlab.views.chart import Chart
from scratchlab.views.limits import Limits, limits
from scratchlab.views.live import Live, live
from scratchlab.views.matrix import Matrix, matrix
from scratchlab.views.mounts import Mounts, mounts
from scratchlab.views.namespaces import Namespaces, namespaces
from scratchlab.views.notations import Ledger, Shown, ledger, show
from scratchlab.views.packet import Packet, packet
from scratchlab.views.picture import Picture
from scratchlab.views.processes import Processes, processes
from scratchlab.views.wiring import Network, wiring

__all__ = [
    "Chart", "Groups", "Ledger", "Limits", "Live", "Matrix", "Mounts", "Namespaces", "Network", "Packet", "Picture", "Processes",
    "Shown", "cgroup", "ledger", "limits", "live", "matrix", "mounts", "namespaces", "packet", "processes", "show",
    "wiring",
]  # fmt: skip
