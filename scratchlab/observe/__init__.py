"""What changed, as frozen data: `Snapshot.of(pid)`, and `diff` of two of them."""

from scratchlab.observe.change import Change, Changes
from scratchlab.observe.diff import diff, names_of
from scratchlab.observe.reader import OpenFile
from scratchlab.observe.snapshot import Snapshot, from_data, to_data

__all__ = ["Change", "Changes", "OpenFile", "Snapshot", "diff", "from_data", "names_of", "to_data"]
