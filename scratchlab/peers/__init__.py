"""A process of any container engine, side by side with ours: `compare(pid)`."""

from scratchlab.peers.comparison import Comparison, Row
from scratchlab.peers.sides import compare

__all__ = ["Comparison", "Row", "compare"]
