"""A live process to apply stages to: `Sandbox`."""

from scratchlab.finished import Finished
from scratchlab.sandbox.applied import Applied, Replayed
from scratchlab.sandbox.sandbox import Sandbox

__all__ = ["Applied", "Finished", "Replayed", "Sandbox"]
