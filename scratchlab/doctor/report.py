"""What was found on a machine: as text for people, and as JSON for programs."""

import json
import os
import shutil
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

from scratchlab.doctor import files, limits, links, machine, names, rights
from scratchlab.doctor.attempt import Attempt, Finding, tried

# In the order in which a container is built. Whoever has more to try adds a list here.
ATTEMPTS: list[Attempt] = [
    *rights.ROOT, *names.ATTEMPTS, *files.ATTEMPTS, *limits.ATTEMPTS, *links.ATTEMPTS, *rights.ATTEMPTS, *machine.ATTEMPTS,
]  # fmt: skip

_WIDTH = 110  # or less, on a terminal that is narrower


class Report(NamedTuple):
    """All that was found."""

    findings: tuple[Finding, ...]
    user: str

    @property
    def works(self) -> bool:
        """Whether all works that is needed."""
        return not self.missing(needed=True)

    def missing(self, needed: bool) -> list[str]:
        """What does not work, and is needed; or that which is not needed."""
        return [finding.what for finding in self.findings if not finding.works and finding.needed == needed]

    def to_data(self) -> dict[str, Any]:
        """The same as plain data. These keys stay."""
        return {
            "works": self.works,
            "user": self.user,
            "needed_and_missing": self.missing(needed=True),
            "optional_and_missing": self.missing(needed=False),
            "findings": [finding._asdict() for finding in self.findings],
        }

    def to_json(self) -> str:
        """The same as JSON."""
        return json.dumps(self.to_data(), indent=2)

    def __repr__(self) -> str:
        width = max(len(finding.what) for finding in self.findings)
        return "\n".join([*(line for finding in self.findings for line in _lines(finding, width)), "", *self._summary()])

    def _summary(self) -> Iterator[str]:
        working = sum(finding.works for finding in self.findings)
        yield f"{working} of {len(self.findings)} work, as {self.user}."
        for needed, said in ((True, "needed and missing"), (False, "missing, and done without")):
            if names := self.missing(needed):
                yield from textwrap.wrap(f"{said}: {', '.join(names)}", _width(), subsequent_indent="    ")
        if not self.works:
            yield "A virtual machine has all that is needed, whatever this one lacks: `scratchlab lab` runs the lessons in one."


def _width() -> int:
    return max(60, min(_WIDTH, shutil.get_terminal_size((_WIDTH, 0)).columns))


def _lines(finding: Finding, width: int) -> Iterator[str]:
    mark = "works" if finding.works else "FAILS" if finding.needed else "lacks"
    lessons = f"lesson{'s' if len(finding.lessons) > 1 else ''} {', '.join(map(str, finding.lessons))}"
    yield f"{mark}  {finding.what:<{width}}  {lessons:<15}  {', '.join(finding.stages)}".rstrip()
    if not finding.works:
        for name, text in (("why", finding.why), ("cause", finding.cause), ("do", finding.do)):
            if text:
                yield from textwrap.wrap(
                    text, _width(), initial_indent=f"       {name:<6} ", subsequent_indent=" " * 14,
                    break_long_words=False, break_on_hyphens=False,
                )  # fmt: skip


def examine() -> Report:
    """Try everything. Nothing is changed: each attempt has a child of its own, and namespaces where they are needed."""
    return Report(tuple(map(tried, ATTEMPTS)), "root" if os.geteuid() == 0 else f"user {os.geteuid()}")
