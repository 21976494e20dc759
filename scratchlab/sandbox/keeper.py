"""The keeper: the host's side of all sandboxes of one program. It forks them, does the outside steps, takes everything back.

It is executed once, with one thread and no event loop, so that it may fork and unshare where a notebook may not. When its
client hangs up, for whatever reason, it closes every sandbox and ends. `scratchlab run` is its own keeper and calls it directly.
"""

import contextlib
import gc
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

from scratchlab import journal, linux
from scratchlab.errors import GoneError, InputError, SandboxError, ScratchlabError, keep_causes, to_wire
from scratchlab.journal import Journal
from scratchlab.linux import Clone
from scratchlab.linux.cgroup_fork import fork_into
from scratchlab.sandbox import agent
from scratchlab.sandbox.steps import play
from scratchlab.sandbox.wire import Channel, close_all
from scratchlab.stages import STAGES, cgroups, stage
from scratchlab.stages.arguments import check_arguments
from scratchlab.stages.stage import Target

Answer = tuple[Any, list[int]]  # what to say, and the file descriptors to hand over with it


class Box(NamedTuple):
    """A sandbox as the keeper knows it."""

    target: Target
    pidfd: int  # the process as it was forked or adopted; a number could come to mean another one.  pidfd_open(2)
    adopted: bool  # it was there before us, and is not ours to end


class Keeper:
    """What a client can ask for; each public method is one verb of the wire protocol."""

    def __init__(self) -> None:
        self._boxes: dict[str, Box] = {}
        self._namespaces = stage.namespaces_of("self")
        keep_causes()  # for the agents that are forked from here
        # What a sandbox leaves running when its agent is killed becomes our child, and does not stay a zombie.
        linux.prctl(linux.Prctl.SET_CHILD_SUBREAPER, 1)

    def hello(self, path: list[str]) -> Answer:
        """Get ready, with what the client can import; take back what others left who were killed."""
        _preload(path)
        try:
            journal.clean()
        except SandboxError as error:
            print(error, file=sys.stderr)  # the trouble of others must not keep us from working
        return os.getpid(), []

    def start(
        self,
        name: str,
        exact: bool = False,
        facts: dict[str, Any] | None = None,
        controllers: Sequence[str] = (),
        born: Sequence[str] = (),
    ) -> Answer:
        """Fork a sandbox; gives its final name, its pid, and the socket to talk to its agent.

        It is born in its control groups of these controllers, where being moved later would cost 10 ms each, and in new
        namespaces of the kinds `born`: as pid 1, where unshare_pid would have to fork once more; and in a user namespace,
        which gives an ordinary user the right to the others.
        """
        kept = Journal.claim(name, exact)
        with contextlib.ExitStack() as trouble:
            trouble.callback(kept.close)
            kept.fact(**(facts or {}))
            child, theirs = _fork_agent(kept, controllers, reduce(or_, map(_flag, born), Clone(0)))
            box = Box(Target(child, kept), os.pidfd_open(child), adopted=False)
            trouble.callback(_end, box)
            kept.will("process", pid=child, started=journal.start_time(child))
            kept.fact(pid=child)
            trouble.pop_all()
        self._boxes[kept.name] = box
        return {"name": kept.name, "pid": child}, [_take(theirs)]

    def adopt(self, name: str, pid: int) -> Answer:
        """Take on a process that exists already, to do outside steps to it."""
        pidfd = linux.pidfd_open(pid)
        try:
            kept = Journal.claim(name, owner=pid)
        except BaseException:
            os.close(pidfd)
            raise
        self._boxes[kept.name] = Box(Target(pid, kept), pidfd, adopted=True)
        return {"name": kept.name}, []

    def outside(self, box: str, pid: int, steps: list[dict[str, Any]], ledger: bool = True) -> Answer:
        """Do outside steps to a sandbox whose agent is now `pid`."""
        return play(steps, self._target(box, pid), ledger=ledger), []

    def missing(self, box: str, pid: int, stage_name: str) -> Answer:
        """Raise StageError where a stage of ours would act on the host because the process is not apart yet."""
        if found := STAGES.get(stage_name):
            stage.refuse_if_missing(found, self._target(box, pid).pid, self._namespaces)
        return None, []

    def observe(self, box: str, pid: int) -> Answer:
        """Two snapshots: the sandbox, and ourselves on the host."""
        from scratchlab.observe import Snapshot, to_data

        target = self._target(box, pid)
        return {"inside": to_data(Snapshot.of(target.pid)), "host": to_data(Snapshot.of(os.getpid()))}, []

    def packet(self, box: str, pid: int, address: str, port: int, protocol: str, inside: bool) -> Answer:
        """Send one packet through the sandbox's wiring, and tell its way."""
        from scratchlab.observe.packet import follow

        return follow(self._target(box, pid), address, port, protocol, inside), []

    def prove(self, box: str, pid: int, stage_name: str) -> Answer:
        """Load the limit that a stage set, and give the kernel's own counters."""
        if stage_name not in STAGES:
            raise SandboxError(f"{stage_name} is no stage of ours, and sets no limit", "cpu, memory, pids and io do")
        return stage.proof_of(STAGES[stage_name], self._target(box, pid)).to_data(), []

    def fact(self, box: str, facts: dict[str, Any]) -> Answer:
        """Write something down for `scratchlab ps` and `exec`."""
        self._box(box).target.journal.fact(**facts)
        return None, []

    def oom_kills(self, box: str, pid: int) -> Answer:
        """How many processes of the sandbox the kernel has killed for want of memory."""
        return cgroups.oom_kills(self._target(box, pid)), []

    def close(self, box: str) -> Answer:
        """End a sandbox, then take back what was done for it, last thing first."""
        found = self._boxes.pop(box, None)
        if found is None:
            return None, []
        _end(found)
        try:
            found.target.journal.close()
        finally:
            _reap_orphans()
        return None, []

    def close_all(self) -> None:
        """End every sandbox. The trouble of one must not keep the others from being closed.

        Adopted processes come last: each is waited for, however long it lives on, with the limits that it has.
        """
        for box in sorted(self._boxes, key=lambda name: self._boxes[name].adopted):
            try:
                self.close(box)
            except ScratchlabError as error:
                print(error, file=sys.stderr)

    def _box(self, name: str) -> Box:
        if name not in self._boxes:
            raise SandboxError(f"there is no sandbox {name!r} here: it is closed", "make a new one: Sandbox()")
        return self._boxes[name]

    def _target(self, box: str, pid: int) -> Target:
        target = self._box(box).target
        target.pid = pid
        return target


VERBS = ("hello", "start", "adopt", "outside", "missing", "observe", "packet", "prove", "fact", "oom_kills", "close")


def _flag(kind: str) -> Clone:
    if kind not in linux.NAMESPACES:
        raise InputError(f"no such namespace: {kind!r}", f"there are {', '.join(linux.NAMESPACES)}")
    return linux.NAMESPACES[kind]


def _fork_agent(kept: Journal, controllers: Sequence[str], namespaces: Clone) -> tuple[int, Channel]:
    """A child that serves at one end of a channel; gives its pid and the other end."""
    theirs, ours = Channel.pair()
    gc.freeze()
    groups = cgroups.prepare(kept, *controllers)
    keeper = os.pidfd_open(os.getpid())
    child = fork_into(*groups, namespaces=namespaces)
    if child == 0:
        agent.main(ours, keeper)
    os.close(keeper)
    ours.close()
    return child, theirs


def _take(channel: Channel) -> int:
    """The file descriptor of a channel that is about to be handed over."""
    fd = os.dup(channel.fileno())
    channel.close()
    return fd


def _end(box: Box) -> None:
    """Kill the agent that we forked and wait for it; if it waits for a pid 1 of its own, that one dies with it."""
    if box.adopted:
        select.select([box.pidfd], [], [])  # readable once the process has ended
    else:
        with contextlib.suppress(ProcessLookupError):  # it was killed, and collected with the orphans
            signal.pidfd_send_signal(box.pidfd, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, box.pidfd, os.WEXITED)
    os.close(box.pidfd)


def _reap_orphans() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


# -- as a process of its own ------------------------------------------------------------------------------------------


def serve(channel: Channel) -> None:
    """Answer requests until the client hangs up, then take everything back."""
    keeper, ended = Keeper(), agent.notice_children()
    try:
        while True:
            _reap_until(channel.fileno(), ended)
            message = channel.receive()
            close_all(message.fds)
            number = message.body.pop("number", None)
            answer, fds = _answer(keeper, message.body, message.pid)
            channel.send({**answer, "number": number}, fds)
            close_all(fds)
    except GoneError:
        pass  # the client is gone: that is how it ends
    finally:
        keeper.close_all()


def _reap_until(request: int, ended: int) -> None:
    """Wait for a request. Meanwhile collect what died with a sandbox, or a moment later, and became our child."""
    poll = select.poll()
    for fd in (request, ended):
        poll.register(fd, select.POLLIN)
    while request not in (ready := {fd for fd, _ in poll.poll()}):
        if ended in ready:
            os.read(ended, 4096)
            _reap_orphans()


def _answer(keeper: Keeper, body: dict[str, Any], sender: int) -> tuple[dict[str, Any], list[int]]:
    verb = body.pop("do", None)
    if body.get("pid") == "sender":
        # A process that isolates itself cannot know how the host numbers it; the kernel does.
        body["pid"] = sender
    try:
        if verb not in VERBS:
            raise SandboxError(f"the keeper does not know the verb {verb!r}", f"it knows {', '.join(VERBS)}")
        act: Callable[..., Answer] = getattr(keeper, verb)
        check_arguments(verb, act, (), body)
        said, fds = act(**body)
    # Whatever it was, not raised again: the other sandboxes need us.
    except BaseException as error:
        return {"error": to_wire(error)}, []
    return said if verb == "outside" else {"ok": said}, fds


def main() -> None:
    """`python -m scratchlab.sandbox.keeper FD`: serve the client at the other end of that socket."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        # An interrupted notebook cell must not take its sandboxes with it; they end when the notebook hangs up. The others come
        # from a program that hands its signals on to all of its children, as a process 1 does (lesson 7): we are one of them.
        signal.signal(name, signal.SIG_IGN)
    channel = Channel.from_fd(int(sys.argv[1]))
    serve(channel)


def _preload(path: list[str]) -> None:
    """Import what agents and learners' functions are likely to want, from where the client would."""
    sys.path[:] = path
    import pathlib  # noqa: F401
    import subprocess  # noqa: F401
    import time  # noqa: F401

    import cloudpickle  # noqa: F401  agents need it after pivot, when it can no longer be found

    from scratchlab import attacks, observe  # noqa: F401
    from scratchlab.errors import explanation  # noqa: F401
    from scratchlab.linux import netlink
    from scratchlab.stages import filters, privileges

    netlink.preload()
    filters.filter_of(capabilities=privileges.FEW)  # 1 ms, which no container has to spend again


if __name__ == "__main__":
    main()
