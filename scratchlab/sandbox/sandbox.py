"""A live process to apply stages to, one by one: the handle that a notebook or a REPL holds."""

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Unpack

from scratchlab import journal
from scratchlab.errors import GoneError, SandboxError, ScratchlabError
from scratchlab.finished import Finished, Sink
from scratchlab.sandbox import answers, client, steps
from scratchlab.sandbox.applied import Applied, Replayed
from scratchlab.sandbox.both import Both, both
from scratchlab.sandbox.interrupts import uninterrupted
from scratchlab.sandbox.running import How, Running
from scratchlab.sandbox.wire import Channel, Message, close_all
from scratchlab.stages.stage import Step, about

if TYPE_CHECKING:  # for looking only: a container that nobody looks at need not wait 10 ms for this import
    from scratchlab.observe import Snapshot
    from scratchlab.observe.packet import Journey
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
        self.notes: list[str] = []  # what a Container could not have here, and why
        self._keeper = keeper or client.keeper()
        self._wanted = {"name": name, "exact": exact, "facts": facts, "controllers": list(controllers), "born": list(born)}
        self._lock = threading.Lock()
        self._start()

    # -- building -----------------------------------------------------------------------------------------------------

    def apply(self, stage: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Applied:
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
            done, error = answers.results(answer.body, len(neighbours))
            self.steps += neighbours[: len(done)]
            if error:
                raise error
            results += done
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

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._channel is None

    def snapshot(self) -> "Snapshot":
        """What the kernel says about the sandbox now."""
        return self._observe()["inside"]

    def follow(self, to: str, inside: bool = False) -> "Journey":
        """Send one packet to ADDRESS:PORT, from the host or from inside, and tell each rule on its way: see views.packet."""
        from scratchlab.observe.packet import Journey, parse_endpoint

        address, port, protocol = parse_endpoint(to)
        answer = self._call("packet", address=address, port=port, protocol=protocol, inside=inside)
        return Journey.from_data(answer.body["ok"])

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self.steps)} steps"
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
        return Running(self, argv, How(input=input, env=env, inherit=inherit, cwd=cwd, stream=stream)).wait(timeout)

    def start(self, *argv: str, **how: Unpack[How]) -> Running:
        """Start a command inside and do not wait for it; the options are those of `run`, but for `timeout`."""
        return Running(self, argv, how)

    def both(self, *argv: str, **options: Any) -> Both:
        """Run a command inside and on the host, side by side, with the same input, timeout and directory."""
        return both(self, argv, options)

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
        with uninterrupted():
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
        with uninterrupted():
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

        if not self.steps:
            # An agent that has just been born still closes files and changes its name: one that answers is done with it.
            self.ask({"do": "inside", "steps": [], "ledger": False})
        seen = self._call("observe").body["ok"]
        return {where: from_data(data) for where, data in seen.items()}


def _changes(before: "dict[str, Snapshot]", after: "dict[str, Snapshot]", name: str) -> tuple[Any, ...]:
    from scratchlab.observe import diff, names_of

    names = {**names_of(name, before["inside"]), **names_of("host", before["host"])}
    return tuple(change for where in ("inside", "host") for change in diff(before[where], after[where], where, names))
