"""Watch a process from above: what it says, whether it has ended, what it has left. Each waits a moment, and no longer."""

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from scratchlab.errors.facts import text

_PATIENCE = 2.0  # seconds after which a process that ought to have done something will not do it any more
_FAILED = "failed: "


def let_run(act: Callable[[], Any], out: int) -> int:
    """Start `act` in a child, printing to `out`. Gives the pid; its exit status is what `act` returns.

    What it raises is printed, too, for `failure`.
    """
    pid = os.fork()
    if pid == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(out, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.closerange(3, 256)  # or its own children would keep open what we wait to see closed
        status = 99
        try:
            result = act()
            status = result if isinstance(result, int) and 0 <= result < 256 else 0
            sys.stdout.flush()
        # Whatever it is: the learner must hear of it, and this process has nobody else to tell.
        except BaseException as error:
            os.write(1, f"{_FAILED}{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(status)
    return pid


def failure(lines: Iterable[str]) -> str:
    """What `let_run`'s act raised, from the lines that it printed; "" if nothing."""
    return next((line.removeprefix(_FAILED) for line in lines if line.startswith(_FAILED)), "")


def lines_of(reader: int, until: str) -> list[str]:
    """The lines that a pipe brings, up to one that begins with `until`; with "", up to its end."""
    text, deadline = "", time.monotonic() + _PATIENCE
    while select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
        if not (data := os.read(reader, 4096)):
            break
        text += data.decode(errors="replace")
        if until and any(line.startswith(until) for line in text.splitlines()):
            break
    return text.splitlines()


def zombies_of(pid: int) -> int:
    """How many of its children stay zombies."""
    # First they must come to be, and then to go: an orphan needs a moment to end, and its reaper one to notice.
    time.sleep(_PATIENCE / 4)
    return sum(_state(child) == "Z" for child in text(f"/proc/{pid}/task/{pid}/children").split())


def ended(pid: int) -> str:
    """Its exit code, or "runs" for one that does not end; then it is killed."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return str(os.waitstatus_to_exitcode(status))
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "runs"


def _state(pid: str) -> str:
    return (text(f"/proc/{pid}/stat").rpartition(")")[2].split() or [""])[0]
