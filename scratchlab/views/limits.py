"""A sandbox's limits as they are written in files, in the words of both versions of control groups.  cgroups(7)"""

from typing import NamedTuple

from scratchlab.linux import cgroupfs
from scratchlab.observe.usage import usage_of
from scratchlab.sandbox import Sandbox
from scratchlab.views.cgroup import is_limited
from scratchlab.views.picture import table
from scratchlab.views.subject import living

# Of several rows, the one that is about the machine on which this is read. All rows are the same everywhere, but for this mark.
HERE = "← this machine"


class Row(NamedTuple):
    """One limit in the words of one version."""

    controller: str
    version: int
    files: str  # their names, and what they say
    here: bool  # whether these files are there, and are read; else, what they would say


class Limits(NamedTuple):
    """The limits of a sandbox, each in both versions' files."""

    name: str
    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        cells = [
            (row.controller if row.version == 1 else "", f"version {row.version}", row.files, HERE if row.here else "")
            for row in self.rows
        ]
        return "\n".join([f"limits of {self.name}", *(f"  {line}" for line in (table(cells) if cells else ["none"]))])


def limits(box: Sandbox) -> Limits:
    """The files that hold a sandbox's limits, and their names on a machine that has the other version.  cgroups(7)"""
    rows = []
    groups = cgroupfs.groups_of(living(box))
    for usage in filter(is_limited, usage_of(box.pid)):
        texts = cgroupfs.in_both_versions(groups[usage.controller], f"{usage.controller}.max")
        rows += [Row(usage.controller, version, text, version == usage.version) for version, text in texts.items()]
    return Limits(box.name, tuple(rows))
