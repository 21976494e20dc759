"""The agent: the process inside a sandbox. It does inside steps, runs commands, and reaps whatever ends.

It is forked from the keeper with everything imported, because after `pivot` the standard library is gone. When it applies
`unshare_pid`, its child goes on with the same socket as pid 1 of the new namespace; nobody outside needs to be told, since
the kernel adds the sender's pid to every message.
"""

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from scratchlab import linux
from scratchlab.errors import GoneError, SandboxError, to_wire
from scratchlab.owner import has_ended
from scratchlab.sandbox import spawn, steps
from scratchlab.sandbox.wire import Channel, close_all
from scratchlab.stages import stage

# Where to say that a run has ended, by the pid that this process knows it by.
_status_pipes: dict[int, int] = {}

_doing_steps = False


def main(channel: Channel, keeper: int) -> NoReturn:
    """Serve one sandbox until the other end hangs up. Called in a child just forked; `keeper` is its parent's pidfd."""
    try:
        _become_agent(channel, keeper)
        with contextlib.suppress(GoneError):  # the other end hung up: the sandbox is over
            _serve(channel, notice_children())
        _end_children()
    finally:
        # Whatever happened: never back into the code of the keeper that we are a copy of, nor to its atexit handlers.
        os._exit(0)


def _serve(channel: Channel, wakeup: int) -> NoReturn:
    while True:
        ready = _wait(channel.fileno(), wakeup)
        _end_forsaken(ready)  # first: what is closed and opened below may have a number that is in `ready` for another reason
        if wakeup in ready:
            os.read(wakeup, 4096)
            _reap()
        if channel.fileno() in ready:
            _serve_one(channel)


def _wait(*fds: int) -> set[int]:
    """The files that have something to read, and the status pipes that nobody reads any more.  poll(2)"""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    for fd in _status_pipes.values():
        poll.register(fd, 0)  # POLLERR needs no asking for
    return {fd for fd, _ in poll.poll()}


def _become_agent(channel: Channel, keeper: int) -> None:
    gc.disable()  # a collection would copy every page that is still shared with the keeper
    stage.serve()
    linux.prctl(linux.Prctl.SET_PDEATHSIG, signal.SIGKILL)
    if has_ended(keeper):
        os._exit(1)  # it died before we could promise to die with it; as pid 1 we could not tell by getppid(2)
    os.setsid()  # Ctrl-C on the terminal is for the program that we serve, which tells us
    null = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    # The keeper's other sandboxes, reserved ports and journals are none of our business.
    os.closerange(3, channel.fileno())
    os.closerange(channel.fileno() + 1, 1 << 20)
    linux.prctl(linux.Prctl.SET_CHILD_SUBREAPER, 1)  # orphans come to us, with or without a pid namespace
    _show_as("scratchlab agent")
    signal.signal(signal.SIGINT, _on_ctrl_c)
    for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGTTOU, signal.SIGTTIN):
        signal.signal(name, signal.SIG_IGN)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  it lives as long as the process
    os.register_at_fork(after_in_child=_leave_behind)


def _show_as(title: str) -> None:
    """Be called `title` by ps: what stands there are the host's command line and environment, which may hold secrets.

    The kernel reads both from our own memory, between the addresses in fields 48 to 51.  proc_pid_stat(5)
    """
    with open("/proc/self/stat") as stat:
        start, end, env_start, env_end = (int(word) for word in stat.read().rpartition(")")[2].split()[45:49])
    ctypes.memmove(start, title.encode()[: end - start - 1].ljust(end - start, b"\0"), end - start)
    os.environ.update(dict(os.environ))  # copied to where nobody looks: programs that we start without saying otherwise want it
    ctypes.memset(env_start, 0, env_end - env_start)
    linux.prctl(linux.Prctl.SET_NAME, title.split()[0])


def notice_children() -> int:
    """A file descriptor that becomes readable when a child ends or stops.  signal-safety by self-pipe, pipe(2)"""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reader


def _serve_one(channel: Channel) -> None:
    request = channel.receive()
    body = request.body
    number = body.pop("number", None)
    try:
        answer, fds = _act(body.pop("do", None))(body, request.fds)
    # Whatever it was, not raised again: the other end waits for an answer, and the sandbox shall live on.
    except BaseException as error:
        answer, fds = {"error": to_wire(error)}, []
    channel.send({**answer, "number": number}, fds)
    close_all(fds)


def _inside(body: dict[str, Any], fds: list[int]) -> tuple[dict[str, Any], list[int]]:
    global _doing_steps
    close_all(fds)
    _doing_steps = True
    try:
        return steps.play(body["steps"], ledger=body["ledger"]), []
    finally:
        _doing_steps = False


def _on_ctrl_c(*_: object) -> None:
    """Ctrl-C in a notebook reaches a learner's function that never ends as it would in the notebook itself.

    One that comes too late is nothing to us. A flag tells, and not another handler for each step: the signal could come in
    the middle of putting that back, and the next one would end us.
    """
    if _doing_steps:
        raise KeyboardInterrupt


def _run(body: dict[str, Any], fds: list[int]) -> tuple[dict[str, Any], list[int]]:
    """Start a command; its end is written to the last of `fds`, so that many can run at once."""
    *standard, status = fds
    try:
        with _first_to_die():
            started = spawn.start(body, standard)
    except BaseException:
        os.close(status)
        raise
    finally:
        close_all(standard)
    _status_pipes[started.pid] = status
    return {"ok": {"pid": started.pid}}, [started.terminal] if started.terminal is not None else []


@contextlib.contextmanager
def _first_to_die() -> Iterator[None]:
    """What is born in here is killed before us when memory runs out: with pid 1 all would die, and who could tell of it?

    A child begins with our own inclination to be chosen, and anybody may raise that.  proc_pid_oom_score_adj(5)
    """
    try:
        with open("/proc/self/oom_score_adj") as inclination:
            usual = inclination.read()
            linux.write_file("/proc/self/oom_score_adj", "1000")
    except OSError:  # no /proc here
        yield
        return
    try:
        yield
    finally:
        linux.write_file("/proc/self/oom_score_adj", usual)


def _kill(body: dict[str, Any], fds: list[int]) -> tuple[dict[str, Any], list[int]]:
    """Signal a command and what it started in its own process group, if it still runs."""
    close_all(fds)
    if body["pid"] in _status_pipes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(body["pid"], body["signal"])
    return {"ok": None}, []


VERBS: dict[str, Callable[[dict[str, Any], list[int]], tuple[dict[str, Any], list[int]]]] = {
    "inside": _inside,
    "run": _run,
    "kill": _kill,
}


def _act(verb: object) -> Callable[[dict[str, Any], list[int]], tuple[dict[str, Any], list[int]]]:
    return VERBS[verb] if isinstance(verb, str) and verb in VERBS else _unknown


def _unknown(_body: dict[str, Any], fds: list[int]) -> NoReturn:
    close_all(fds)
    raise SandboxError("an agent does not know this verb", f"it knows {', '.join(VERBS)}")


def _reap() -> None:
    """Collect every child that ended, ours or an orphan that came to us; tell of those that somebody waits for."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _tell(pid, status)


def _tell(pid: int, status: int) -> None:
    pipe = _status_pipes.get(pid)
    if pipe is None:
        return
    with contextlib.suppress(BrokenPipeError):
        os.write(pipe, json.dumps(_ending(status)).encode() + b"\n")
    if not os.WIFSTOPPED(status):
        os.close(_status_pipes.pop(pid))


def _end_forsaken(ready: set[int]) -> None:
    """Kill the commands that nobody waits for any more: the program that started them was interrupted, or is gone."""
    for pid, pipe in list(_status_pipes.items()):
        if pipe in ready:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.close(_status_pipes.pop(pid))


def _leave_behind() -> None:
    """In a child of ours that goes on as pid 1 of a new namespace: the commands that run are not its children."""
    while _status_pipes:
        os.close(_status_pipes.popitem()[1])


def _ending(status: int) -> dict[str, int]:
    """A wait status in words: {"exit": 0}, {"signal": 9} or {"stopped": 20}.  wait(2)"""
    if os.WIFSTOPPED(status):
        return {"stopped": os.WSTOPSIG(status)}
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    return {"exit": os.WEXITSTATUS(status)}


def _end_children() -> None:
    """Kill what we started. As pid 1 our own exit would do it; without a pid namespace nobody else would."""
    for pid in list(_status_pipes):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
