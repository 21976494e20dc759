"""Shell lines in a notebook cell, run inside a sandbox, on the host, or on both sides.

    %load_ext scratchlab

    %%inside box             %%outside             %%both box
    hostname                 hostname              ps -e

What they say is printed by Python when they have ended, so that a notebook keeps it.
"""

import sys
from collections.abc import Callable
from typing import Any

from scratchlab import views  # noqa: F401  from here on, a notebook shows pictures of what has one
from scratchlab.errors import InputError, ScratchlabError
from scratchlab.sandbox import Finished, Sandbox
from scratchlab.sandbox.both import on_host


def register(shell: Any) -> None:
    """Add the magics to an IPython shell."""
    for magic in (inside, outside, both):
        shell.register_magic_function(_told(shell, magic), "cell", magic.__name__)


def _told(shell: Any, magic: Callable[[Any, str, str], None]) -> Callable[[str, str], None]:
    """The magic as IPython calls it; an error of ours is one line, and no traceback through our own code."""

    def run(line: str, cell: str) -> None:
        from IPython.core.error import UsageError

        try:
            magic(shell, line, cell)
        except ScratchlabError as error:
            raise UsageError(str(error)) from None

    run.__doc__ = magic.__doc__
    return run


def inside(shell: Any, line: str, cell: str) -> None:
    """%%inside BOX: run these shell lines in a sandbox."""
    _print(_box(shell, line, "inside").run("sh", "-c", cell))


def outside(_shell: Any, line: str, cell: str) -> None:
    """%%outside: run these shell lines on the host."""
    if line.strip():
        raise InputError(f"%%outside takes no sandbox: {line.strip()!r}", "it runs on the host; for a sandbox, say %%inside BOX")
    _print(on_host(("sh", "-c", cell)))


def both(shell: Any, line: str, cell: str) -> None:
    """%%both BOX: run these shell lines in a sandbox and on the host, side by side."""
    print(_box(shell, line, "both").both("sh", "-c", cell))


def _box(shell: Any, line: str, magic: str) -> Sandbox:
    name = line.strip()
    found = shell.user_ns.get(name)
    if isinstance(found, Sandbox):
        return found
    names = sorted(key for key, value in shell.user_ns.items() if isinstance(value, Sandbox) and key[:1] != "_")
    there = " or ".join(f"%%{magic} {key}" for key in names)
    asked = f"{name!r} is not a sandbox" if name else f"%%{magic} wants to know which sandbox"
    raise InputError(asked, f"say {there}" if there else 'make one: box = Sandbox("web")')


def _print(finished: Finished) -> None:
    if finished.out:
        print(finished.out)
    if finished.err:
        print(finished.err, file=sys.stderr)
    if not finished.ok:
        print(f"[{'status ' + str(finished.status) if finished.signal is None else 'killed by ' + finished.signal}]")
