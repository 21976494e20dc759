"""One command on both sides: inside a sandbox and on the host, to see what is the same and what is not."""

import json
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from scratchlab.errors import InputError, KernelError
from scratchlab.finished import Finished
from scratchlab.sandbox.run import Conversation, check_argv

if TYPE_CHECKING:
    from subprocess import Popen

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
    from subprocess import Popen  # 10 ms, for which a container need not wait

    check_argv(argv)
    talk = Conversation(input.encode() if isinstance(input, str) else input, (None, None))
    *standard, status = talk.theirs
    try:
        # In a session of its own, as inside, so that what it starts can be ended with it.
        process = Popen(argv, stdin=standard[0], stdout=standard[1], stderr=standard[2], cwd=cwd, start_new_session=True)
    except OSError as error:
        os.close(status)
        talk.close()
        raise KernelError("execve", {"pathname": f'"{argv[0]}"'}, error.errno or 0) from None
    finally:
        talk.close(standard)
    # The agent's part inside: whoever holds the pipes open, it is the command's own end that is told.
    threading.Thread(target=_tell_end, args=(process, status), daemon=True).start()
    return _collected(talk, argv, process.pid, None if timeout is None else time.monotonic() + timeout)


def _tell_end(process: "Popen[bytes]", status: int) -> None:
    code = process.wait()
    with suppress(BrokenPipeError):  # Ctrl-C: nobody wants to know any more
        os.write(status, json.dumps({"exit": code} if code >= 0 else {"signal": -code}).encode())
    os.close(status)


def _collected(talk: Conversation, argv: tuple[str, ...], pid: int, deadline: float | None) -> Finished:
    try:
        ending = talk.until_ended(deadline)
        if timed_out := ending is None:
            os.killpg(pid, signal.SIGKILL)
            ending = talk.until_ended(None)
        assert ending is not None
        return talk.finished(argv, ending, timed_out)
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        raise
    finally:
        talk.close()
