"""What a finder is given, and what it gives back."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

# Which arguments of a call are paths that it walks; of most calls, any that has one of the usual names.
_PATHS = {
    "mount": ("target", "source"), "pivot_root": ("new_root", "put_old"), "symlink": ("linkpath",),
    "link": ("oldpath", "newpath"), "rename": ("oldpath", "newpath"),
}  # fmt: skip
_USUAL = ("path", "pathname", "file", "target")


class Asked(NamedTuple):
    """The call that failed, as the error names it."""

    call: str
    symbol: str  # EPERM
    arguments: Mapping[str, str]  # as the ledger shows them: text in quotes, flags by name

    def text(self, name: str) -> str:
        """An argument without its quotes; '' if there is none, or it is NULL."""
        shown = self.arguments.get(name, "")
        quoted = len(shown) > 1 and shown[0] == shown[-1] == '"'
        return shown[1:-1].replace("\\n", "\n") if quoted else "" if shown == "NULL" else shown

    def number(self, name: str) -> int:
        """An argument as a number. Raises ValueError."""
        return int(self.text(name), 0)

    def has(self, name: str, flag: str) -> bool:
        """Whether a flag is set: RDONLY in mountflags=RDONLY|NOSUID."""
        return flag in self.text(name).split("|")

    def paths(self) -> list[str]:
        """The paths that the call had to walk."""
        found = [self.text(name) for name in _PATHS.get(self.call, _USUAL)]
        # A mount's source is a path only if it looks like one: "tmpfs" is just a word.
        found = [path for path in found if path and (self.call != "mount" or "/" in path or path == self.text("target"))]
        return [self._below(path) for path in found]

    def _below(self, path: str) -> str:
        """A path as openat2 starts it: from a directory that is open, and is taken for the root."""
        directory = self.text("dirfd")
        return f"/proc/self/fd/{directory}/{path.lstrip('/')}" if directory.isdecimal() else path


class Cause(NamedTuple):
    """Why a call failed, and what to do; the command that confirms it; the manual page."""

    why: str
    check: str = ""
    page: str = ""

    def __str__(self) -> str:
        proof = "; ".join(filter(None, (f"check: {self.check}" if self.check else "", self.page)))
        # A hint is one line, whatever a file in it is called.
        return (f"{self.why} ({proof})" if proof else self.why).replace("\n", "\\n")

    @classmethod
    def read(cls, hint: str) -> "Cause":
        """The cause in a hint: over the wire it comes as its text."""
        found = _WRITTEN.fullmatch(hint)
        return cls(found["why"], found["check"] or "", found["page"] or "") if found else cls(hint)


_WRITTEN = re.compile(r"(?P<why>.*?) \((?:check: (?P<check>.*?))?(?:; )?(?P<page>(?<=[(; ])[\w.-]+\([1-8]\w*\))?\)", re.DOTALL)

Finder = Callable[[Asked], Cause | None]  # None: it is something else
