"""Programs of the machine that hold a right which we lack: started without a shell, waited for, and in the ledger.  execve(2)"""

import os
import shlex

from scratchlab.errors import HostError
from scratchlab.linux.ledger import Bare, record


def find(program: str) -> str:
    """Where a program is, by PATH and by what an ordinary user's PATH lacks; '' if nowhere.  environ(7)"""
    places = [*os.environ.get("PATH", os.defpath).split(":"), "/usr/sbin", "/sbin"]
    candidates = (os.path.join(place, program) for place in places if place)
    return next((path for path in candidates if os.access(path, os.X_OK) and os.path.isfile(path)), "")


def run(program: str, *words: object) -> None:
    """Run a program to its end. Raises HostError with what it said, or if it is not installed."""
    path, argv = find(program), [program, *map(str, words)]
    if not path:
        raise HostError(f"{program} is not installed", f"install it, then try again: {shlex.join(argv)}")
    status, said = record("execve", {"pathname": path, "argv": Bare(shlex.join(argv))}, lambda: _finish(path, argv))
    if status:
        raise HostError(f"{shlex.join(argv)}: {said.strip() or f'ended with status {status}'}")


def _finish(path: str, argv: list[str]) -> tuple[int, str]:
    reader, writer = os.pipe()
    with open(reader, errors="replace") as output:
        try:
            outputs = [(os.POSIX_SPAWN_DUP2, writer, number) for number in (1, 2)]
            pid = os.posix_spawn(path, argv, os.environ, file_actions=outputs)
        finally:
            os.close(writer)
        said = output.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said
