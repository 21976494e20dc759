"""An empty control group for a lesson, written to the journal before it is made."""

import os
from typing import NamedTuple

from scratchlab.journal import Journal
from scratchlab.linux import cgroupfs


class Group(NamedTuple):
    """A control group that goes with its journal, with whoever is in it, also after a crash."""

    path: str
    journal: Journal

    @classmethod
    def make(cls, name: str, *controllers: str) -> "Group":
        """A new group with these controllers; in several trees, one in each, and `path` is the first.  cgroups(7)"""
        journal = Journal.claim(name)
        journal.fact(pid=os.getpid(), command=["(a control group of a lesson)"])
        for path in {cgroupfs.path_of(controller, journal.name) for controller in controllers}:
            journal.will("cgroup", path=path)
        paths = [cgroupfs.create(controller, journal.name) for controller in controllers]
        return cls(paths[0], journal)

    def close(self) -> None:
        """Remove it with all that is in it."""
        self.journal.close()

    def __enter__(self) -> "Group":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
