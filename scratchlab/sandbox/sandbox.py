"""A live process to apply stages to, one by one: the handle that a notebook or a REPL holds."""

import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from scratchlab import journal
from scratchlab.errors import GoneError, SandboxError, ScratchlabError, from_wire
from scratchlab.finished import Finished, Sink
from scratchlab.sandbox import client, steps
from scratchlab.sandbox.applied import Applied, Replayed
from scratchlab.sandbox.run import GRACE, Conversation, check_argv
from scratchlab.sandbox.wire import Channel, Message, close_all
from scratchlab.stages.stage import Step, about

if TYPE_CHECKING:  # for looking only: a container that nobody looks at need not wait 10 ms for this import
    from scratchlab.observe import Snapshot
    from scratchlab.stages.loads import Proof


class Sandbox:
    """A process, with nothing isolated at first.

        >>> box = Sandbox("web")
        >>> box.apply(stages.unshare_uts)
        >>> box.run("hostname").out

    `name` is what the host's control groups, links and rules for it are called; where it is taken, a number is added.
    Raises SandboxError once it is closed.
    """

    name: str
    pid: int  # as the host numbers it; changes with unshare_pid
    _channel: Channel | None = None  # to the agent; None before and after

    def __init__(
        self,
        name: str = "box",
        *,
        keeper: client.KeeperLike | None = None,
        exact: bool = False,
        facts: dict[str, Any] | None = None,
        controllers: Sequence[str] = (),
        born: Sequence[str] = (),
    ) -> None:
        self.steps: list[Step] = []
        self._keeper = keeper or client.keeper()
        self._wanted = {"name": name, "exact": exact, "facts": facts, "controllers": list(controllers), "born": list(born)}
        self._lock = threading.Lock()
        self._start()

    # -- building -----------------------------------------------------------------------------------------------------

    def apply(self, stage: Callable[..., Any], *args: Any, **kwargs: Any) -> Applied:
        """Do one step. Gives what changed, inside and on the host, with the ledger of system calls.

        A learner's own function is applied exactly as a stage of ours. Raises KernelError where the kernel refused,
        StageError where another stage must come first, InputError for arguments that cannot be right.
        """
        step = Step(stage, args, kwargs)
        steps.check(step)
        self._call("missing", stage_name=step.name)
        before = self._observe()
        (result,) = self.play([step], ledger=True)
        after = self._observe()
        return Applied.of(step, result, _changes(before, after, self.name))

    def play(self, todo: Iterable[Step], ledger: bool = False) -> list[dict[str, Any]]:
        """Do many steps, without looking at what they change: neighbours on the same side go in one message."""
        results: list[dict[str, Any]] = []
        for side, group in itertools.groupby(todo, key=lambda step: about(step.stage).side):
            neighbours = list(group)
            packed = [steps.pack(step) for step in neighbours]
            body = {"steps": packed, "ledger": ledger}
            answer = self._call("outside", **body) if side == "outside" else self.ask({"do": "inside", **body})
            close_all(answer.fds)
            self.pid = answer.pid if side == "inside" else self.pid
            self.steps += neighbours[: len(answer.body.get("done", packed))]
            if "error" in answer.body:
                raise from_wire(answer.body["error"])
            results += answer.body["ok"]
        return results

    def undo(self) -> Replayed:
        """Take the last step back, by building a new sandbox from all steps but that one."""
        return self._replay(self.steps[:-1])

    def without(self, stage: Callable[..., Any]) -> Replayed:
        """Leave one stage out, by building a new sandbox from all other steps."""
        return self._replay([step for step in self.steps if step.stage is not stage])

    def prove(self, stage: Callable[..., Any]) -> "Proof":
        """Load the limit that a stage set. Gives the kernel's own counters, or raises StageError if it does not hold."""
        from scratchlab.stages.loads import Proof

        return Proof.from_data(self._call("prove", stage_name=stage.__name__).body["ok"])

    # -- looking ------------------------------------------------------------------------------------------------------

    def snapshot(self) -> "Snapshot":
        """What the kernel says about the sandbox now."""
        return self._observe()["inside"]

    def __repr__(self) -> str:
        state = "closed" if self._channel is None else f"{len(self.steps)} steps"
        return f"Sandbox({self.name!r}, {state})" + "".join(f"\n  {step}" for step in self.steps)

    # -- running ------------------------------------------------------------------------------------------------------

    def run(
        self,
        *argv: str,
        input: str | bytes = b"",
        timeout: float | None = None,
        env: dict[str, str] | None = None,
        inherit: bool = True,
        cwd: str | None = None,
        stream: bool | Sink = False,
    ) -> Finished:
        """Run a command inside and wait for it.

        `input` is what it reads; `timeout`, the seconds after which it gets SIGTERM, and SIGKILL if that does not help;
        `env` adds to our environment, or replaces it if not `inherit`; with `stream`, output is printed, or handed to your
        function, while it runs.
        Raises KernelError("execve") if it cannot be executed.
        """
        check_argv(argv)
        sinks = (_printer(sys.stdout), _printer(sys.stderr)) if stream is True else (stream or None, stream or None)
        talk = Conversation(input.encode() if isinstance(input, str) else input, sinks)
        try:
            body = {"do": "run", "argv": list(argv), "env": {**(os.environ if inherit else {}), **(env or {})}, "cwd": cwd}
            pid = self.ask(body, talk.theirs).body["ok"]["pid"]
        finally:
            talk.close(talk.theirs)
        try:
            ending, timed_out = self._wait(pid, talk, timeout)
        finally:
            talk.close()
        return _finished(argv, ending, talk, timed_out)

    def _wait(self, pid: int, talk: Conversation, timeout: float | None) -> tuple[dict[str, int], bool]:
        try:
            ending = talk.until_ended(None if timeout is None else time.monotonic() + timeout)
        except KeyboardInterrupt:
            self._end(pid, talk, signal.SIGINT)
            raise
        except GoneError:
            if not self.oom_kills():
                raise
            return {"signal": signal.SIGKILL}, False  # the limit killed the agent, and so the command
        if ending is not None:
            return ending, False
        return self._end(pid, talk, signal.SIGTERM), True

    def _end(self, pid: int, talk: Conversation, first: signal.Signals) -> dict[str, int]:
        """Ask it to end; a process that ignores that is killed."""
        self.kill(pid, first)
        ending = talk.until_ended(time.monotonic() + GRACE)
        if ending is None:
            self.kill(pid, signal.SIGKILL)
            ending = talk.until_ended(None)
        assert ending is not None
        return ending

    def kill(self, pid: int, number: int) -> None:
        """Signal a command that was started here, by the pid that it has inside."""
        self.ask({"do": "kill", "pid": pid, "signal": int(number)})

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed for want of memory."""
        kills: int = self._call("oom_kills").body["ok"]
        return kills

    def note(self, **facts: Any) -> None:
        """Write down what other programs want to know of this sandbox, such as `scratchlab ps`."""
        self._keeper.call("fact", box=self.name, facts=facts)

    # -- ending -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End all its processes, then take back what the host did for it. Closing twice is fine."""
        if self._channel is None:
            return
        with client.uninterrupted():
            channel, self._channel = self._channel, None
            if self._forks != client.forks:
                channel.close()  # our copy only: the sandbox is our parent's
                return
            channel.hang_up()
            try:
                self._keeper.call("close", box=self.name)
            except GoneError:  # the keeper was killed, and its agents died with it; what it had made is in the journal
                journal.clean()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._keeper.abandon(self.name)

    # -- underneath ---------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        with client.uninterrupted():
            answer = self._keeper.call("start", **self._wanted)
            self.name, self.pid = answer.body["ok"]["name"], answer.body["ok"]["pid"]
            self._channel = Channel.from_fd(answer.fds[0])
        self._forks = client.forks
        self.steps = []

    def _replay(self, wanted: list[Step]) -> Replayed:
        had = list(self.steps)
        # The old one goes first: it may hold the port or the subnet that the new one needs.
        self.close()
        try:
            self._rebuild(wanted)
        except ScratchlabError:
            self.close()
            self._rebuild(had)
            raise
        return Replayed(tuple(self.steps))

    def _rebuild(self, wanted: list[Step]) -> None:
        self._start()
        for step in wanted:
            self._call("missing", stage_name=step.name)
            self.play([step])

    def ask(self, body: dict[str, Any], fds: Iterable[int] = ()) -> Message:
        """Send the agent one request of the wire protocol; for what has no method here, such as a terminal."""
        channel = self._open()
        with self._lock:
            try:
                return channel.ask(body, list(fds))
            except KeyboardInterrupt:
                self._interrupt(body["do"])
                raise

    def _interrupt(self, doing: str) -> None:
        """Hand Ctrl-C on to a learner's function, which may never end by itself."""
        if doing == "inside":
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGINT)

    def _open(self) -> Channel:
        if self._channel is None:
            raise SandboxError("this sandbox is closed", "make a new one: Sandbox()")
        if self._forks != client.forks:
            raise SandboxError("this sandbox belongs to the program that forked this one", "make a new one: Sandbox()")
        return self._channel

    def _call(self, verb: str, **body: Any) -> Message:
        self._open()
        return self._keeper.call(verb, box=self.name, pid=self.pid, **body)

    def _observe(self) -> "dict[str, Snapshot]":
        from scratchlab.observe import from_data

        seen = self._call("observe").body["ok"]
        return {where: from_data(data) for where, data in seen.items()}


def _changes(before: "dict[str, Snapshot]", after: "dict[str, Snapshot]", name: str) -> tuple[Any, ...]:
    from scratchlab.observe import diff, names_of

    names = {**names_of(name, before["inside"]), **names_of("host", before["host"])}
    return tuple(change for where in ("inside", "host") for change in diff(before[where], after[where], where, names))


def _printer(stream: Any) -> Sink:
    # Through Python's own stream, looked up now: in a notebook that is the cell's output.
    return lambda text: print(text, end="", file=stream, flush=True)


def _finished(argv: tuple[str, ...], ending: dict[str, int], talk: Conversation, timed_out: bool) -> Finished:
    number = ending.get("signal")
    return Finished(
        argv,
        ending.get("exit"),
        None if number is None else signal.Signals(number).name,
        talk.out.text(),
        talk.err.text(),
        timed_out,
        talk.out.dropped + talk.err.dropped,
    )
