"""One command on both sides: inside a sandbox and on the host, to see what is the same and what is not."""

import os
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from scratchlab.errors import InputError, KernelError
from scratchlab.finished import Finished, signal_name
from scratchlab.sandbox.run import check_argv

if TYPE_CHECKING:
    from scratchlab.sandbox.sandbox import Sandbox

_WIDE = 60  # columns of one side; the whole lines are in .inside and .host
_OPTIONS = {"input", "timeout", "cwd"}  # those of `run` that mean the same on the host


class Both(NamedTuple):
    """What one command said inside and on the host. Its repr has the two side by side."""

    name: str
    inside: Finished
    host: Finished

    @property
    def same(self) -> bool:
        """Whether both said the same."""
        return (self.inside.out, self.inside.code) == (self.host.out, self.host.code)

    @property
    def lines(self) -> tuple[int, int]:
        """How many lines each side said: inside, and on the host."""
        return len(self.inside.lines), len(self.host.lines)

    def __repr__(self) -> str:
        left, right = ([_cut(line) for line in repr(side).splitlines()] for side in (self.inside, self.host))
        left, right = [self.name, *left], ["host", *right]
        width = max(map(len, left))
        count = max(len(left), len(right))
        padded = zip(left + [""] * (count - len(left)), right + [""] * (count - len(right)), strict=True)
        rows = [f"{one:{width}}  │  {other}".rstrip() for one, other in padded]
        return "\n".join([rows[0], f"{'─' * width}──┼──{'─' * max(map(len, right))}", *rows[1:]])


def _cut(line: str) -> str:
    line = line.expandtabs()
    return line if len(line) <= _WIDE else line[: _WIDE - 1] + "…"


def both(box: "Sandbox", argv: tuple[str, ...], options: Mapping[str, Any]) -> Both:
    """Run a command inside and on the host. Raises InputError for an option that only one of them has."""
    if unknown := set(options) - _OPTIONS:
        raise InputError(f"both: no option {', '.join(sorted(unknown))}", f"there are {', '.join(sorted(_OPTIONS))}")
    return Both(box.name, box.run(*argv, **options), on_host(argv, **options))


def on_host(argv: tuple[str, ...], input: str | bytes = b"", timeout: float | None = None, cwd: str | None = None) -> Finished:
    """Run a command where this program is, and collect what it says as `Sandbox.run` does."""
    from subprocess import PIPE, Popen, TimeoutExpired  # 10 ms, for which a container need not wait

    check_argv(argv)
    try:
        # In a session of its own, as inside, so that what it starts can be ended with it.
        process = Popen(argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=cwd, start_new_session=True)
    except OSError as error:
        raise KernelError("execve", {"pathname": f'"{argv[0]}"'}, error.errno or 0) from None
    timed_out = False
    try:
        out, err = process.communicate(input.encode() if isinstance(input, str) else input, timeout)
    except TimeoutExpired:
        timed_out = True
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    code = process.returncode
    status, name = (code, None) if code >= 0 else (None, signal_name(-code))
    return Finished(argv, status, name, _text(out), _text(err), timed_out)


def _text(data: bytes) -> str:
    return data.decode(errors="replace").removesuffix("\n")
