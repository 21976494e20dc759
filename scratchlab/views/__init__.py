"""Pictures of what the kernel says, from a live sandbox: text first, and in a notebook an image that says the same."""

from scratchlab.views.mounts import Mounts, mounts
from scratchlab.views.namespaces import Namespaces, namespaces
from scratchlab.views.picture import Picture
from scratchlab.views.processes import Processes, processes

__all__ = ["Mounts", "Namespaces", "Picture", "Processes", "mounts", "namespaces", "processes"]
