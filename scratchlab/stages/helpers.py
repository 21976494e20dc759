"""Processes that work for a sandbox on the host's side for as long as its journal is open, and not a moment longer.

Each is forked from the keeper, waits until it stands in the journal, and promises to die with the keeper. Only then does it enter
the sandbox's namespaces, or execute a program.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from scratchlab import journal, linux
from scratchlab.errors import HostError
from scratchlab.stages.stage import Target


class Helper(NamedTuple):
    """A running helper, for the journal to keep: closing it ends it."""

    pid: int
    started: int  # it may have ended, and its number be another process's

    def close(self) -> None:
        """End the process and collect it."""
        journal.end_process(self.pid, self.started)
        with contextlib.suppress(ChildProcessError):  # the keeper has collected it with the orphans
            os.waitpid(self.pid, 0)


def start(target: Target, act: Callable[[socket.socket], object], trouble: str, hint: str = "") -> Helper:
    """Do `act` in a helper, which is up once `act` has closed its socket, or has executed a program.

    Raises HostError with `trouble` and `hint` where it ends with an OSError before that.
    """
    ours, theirs = socket.socketpair()
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _become_helper(act, theirs, keeper)
    theirs.close()
    helper = Helper(pid, journal.start_time(pid))
    target.journal.will("process", **helper._asdict())
    target.journal.keep(helper)
    with ours:
        ours.send(b"go")  # only now: what is not in the journal must not outlive us
        if answer := ours.recv(1 << 16):
            raise HostError(f"{trouble}: {answer.decode()}", hint)
    return helper


def _become_helper(act: Callable[[socket.socket], object], keeper_end: socket.socket, keeper: int) -> NoReturn:
    # Whatever goes wrong: never return into the keeper's code, of which this is a copy.
    try:
        linux.prctl(linux.Prctl.SET_PDEATHSIG, signal.SIGKILL)
        # Where the keeper's signals are noted, ours must not be; and in here, that number is going to be another file's.
        signal.set_wakeup_fd(-1)
        if keeper_end.recv(2) == b"go" and os.getppid() == keeper:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # a Ctrl-C is meant for the container; the keeper ends us
            act(keeper_end)
    except OSError as error:
        with contextlib.suppress(OSError):
            keeper_end.send(str(error).encode())
    finally:
        os._exit(1)


def enter(pid: int, *kinds: str) -> None:
    """Join namespaces of a process; its user namespace first, which gives the right to the others.  setns(2)"""
    differ = [kind for kind in ("user", *kinds) if os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")]
    fds = {kind: os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in differ}
    for kind, fd in fds.items():
        linux.setns(fd, linux.NAMESPACES[kind])
        os.close(fd)
    if "user" in fds:
        linux.prctl(linux.Prctl.SET_PDEATHSIG, signal.SIGKILL)  # new credentials: the kernel has forgotten the promise


def close_all_but(keep: Sequence[int]) -> None:
    """Close what was open in the keeper: while we held its sockets, its other sandboxes would not end with it."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in keep:
            with contextlib.suppress(OSError):  # the listing's own
                os.close(int(name))
