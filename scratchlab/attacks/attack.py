"""What an attack is: a plain function with one decorator, shaped like a stage, that tries to get out and returns its evidence.

It works in a child of the process that it is called in, which is killed when its time is over: so it may trap itself, or be
killed, and the sandbox lives on. What it attacks is told to it, and is always bait of our own: see `scratchlab.trials`.
"""

import functools
import inspect
import json
import os
import select
import signal
from collections.abc import Callable
from typing import NamedTuple, NoReturn, ParamSpec

from scratchlab.errors import KernelError, StageError

P = ParamSpec("P")

DISPOSABLE = "scratchlab.disposable=1"
LONGEST = 1000  # characters of evidence


class Evidence(NamedTuple):
    """What an attack came back with."""

    got_out: bool
    seen: str  # in one line: what it could read or do, or the call that was refused


class About(NamedTuple):
    """What an attack carries besides its code."""

    man: tuple[str, ...]  # manual pages
    stopped_by: tuple[str, ...]  # stages: each stops it alone, and the default container without all of them does not
    also: tuple[str, ...]  # stages that the default container does not have, and that would stop it alone too
    history: str  # where it was seen in the wild
    side: str  # "inside" the sandbox, or "outside": what is attacked is a tool of the host
    disposable: bool  # it acts on the whole machine, so only in one that is thrown away afterwards


Attack = Callable[..., Evidence]

ATTACKS: dict[str, Attack] = {}  # every attack, by name


def attack(
    *man: str,
    stopped_by: tuple[str, ...],
    also: tuple[str, ...] = (),
    history: str = "",
    side: str = "inside",
    disposable: bool = False,
    seconds: float = 20,
) -> Callable[[Callable[P, Evidence]], Callable[P, Evidence]]:
    """Mark a function as an attack. It gets `seconds`; `stopped_by` are the walls, of which each one is enough."""

    def decorate(function: Callable[P, Evidence]) -> Callable[P, Evidence]:
        @functools.wraps(function)
        def apart(*args: P.args, **kwargs: P.kwargs) -> Evidence:
            if disposable:
                refuse_unless_disposable(function.__name__)
            return _in_child(lambda: function(*args, **kwargs), seconds)

        del apart.__wrapped__  # a stage is performed without its wrapper; an attack never is
        apart.function = function  # type: ignore[attr-defined]
        apart.about = About(man, stopped_by, also, history, side, disposable)  # type: ignore[attr-defined]
        ATTACKS[function.__name__] = apart
        return apart

    return decorate


def about(attack: Attack) -> About:
    """What an attack carries."""
    found: About = attack.about  # type: ignore[attr-defined]
    return found


class Source(str):
    """A program's text, shown as it is."""

    def __repr__(self) -> str:
        return str(self)


def source(attack: Attack) -> Source:
    """An attack as it is written, to read: without what keeps it in a child."""
    text = inspect.getsource(attack.function)  # type: ignore[attr-defined]
    return Source(text[text.index("def ") :].rstrip())


def is_disposable() -> bool:
    """Whether this machine was booted to be thrown away: it says so to its kernel.  kernel-command-line(7)"""
    try:
        with open("/proc/cmdline") as line:
            return DISPOSABLE in line.read().split()
    except OSError:
        return False


def refuse_unless_disposable(name: str) -> None:
    """Raise StageError where an attack would act on a machine that somebody needs."""
    if not is_disposable():
        raise StageError(
            f"{name} acts on the whole machine, and this one is not there to be thrown away",
            f"boot one with {DISPOSABLE} on the kernel's command line (check: cat /proc/cmdline)",
        )


# -- in a child -------------------------------------------------------------------------------------------------------


def _in_child(act: Callable[[], Evidence], seconds: float) -> Evidence:
    reader, writer = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        return Evidence(False, _refused(error))
    if pid == 0:
        os.close(reader)
        _attack(act, writer)
    os.close(writer)
    return _told(reader, pid, seconds)


def _attack(act: Callable[[], Evidence], writer: int) -> NoReturn:
    try:
        os.setsid()  # so that all that it starts can be killed with it
        _close_on_exec(writer)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        _die_first()
        got_out, seen = _evidence(act)
        os.write(writer, json.dumps([got_out, seen[:LONGEST]]).encode())
    finally:
        os._exit(0)  # whatever it was, it must not go on with the code that called us


def _close_on_exec(kept: int) -> None:
    """Close what execve(2) would: an attacker is a program that was started, and inherits no more than such a one."""
    for fd in map(int, os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else range(3, 256)):
        try:
            if fd > 2 and fd != kept and not os.get_inheritable(fd):
                os.close(fd)
        except OSError:  # not open, or the directory that was just read
            pass


def _die_first() -> None:
    """When memory runs out, the kernel shall choose the attacker and not the sandbox.  proc_pid_oom_score_adj(5)"""
    try:
        with open("/proc/self/oom_score_adj", "w") as inclination:
            inclination.write("1000")
    except OSError:
        pass  # no /proc here, or none that may be written to


def _evidence(act: Callable[[], Evidence]) -> Evidence:
    try:
        return act()
    except OSError as error:
        return Evidence(False, _refused(error))
    # Whatever else it died of, nobody could catch it outside: it is evidence too.
    except BaseException as error:
        return Evidence(False, f"{type(error).__name__}: {error}")


def _refused(error: OSError) -> str:
    """A refusal in one line: the call and the errno's symbol."""
    symbol = KernelError.symbol(error.errno or 0)
    if isinstance(error, KernelError):
        return f"{error.call}({', '.join(error.arguments.values())}) = {symbol}"
    if error.errno is None:  # Python's own, such as a timeout
        return str(error)
    return f"{error.filename}: {symbol}" if error.filename else f"{symbol}: {error.strerror}"


def _told(reader: int, pid: int, seconds: float) -> Evidence:
    """What the child says, in time. Whatever happens here, nothing of it is left running."""
    try:
        with open(reader, "rb") as stream:
            in_time = bool(select.select([stream], [], [], seconds)[0])
            text = os.read(reader, 1 << 16) if in_time else b""
    finally:
        status = _end(pid)
    if text:
        return Evidence(*json.loads(text))
    if not in_time:
        return Evidence(False, f"nothing came of it in {seconds:g} s")
    return Evidence(False, f"killed by {signal.Signals(os.WTERMSIG(status)).name}" if os.WIFSIGNALED(status) else "died")


def _end(pid: int) -> int:
    try:
        os.killpg(pid, signal.SIGKILL)  # before it is waited for: until then its number means nobody else
    except ProcessLookupError:
        os.kill(pid, signal.SIGKILL)  # it has not come as far as to lead a group of its own
    return os.waitpid(pid, 0)[1]
