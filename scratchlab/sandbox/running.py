"""A command that runs in a sandbox: wait for it, look at it meanwhile, or stop it."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypedDict

from scratchlab.errors import GoneError, SandboxError
from scratchlab.finished import Finished, Sink
from scratchlab.sandbox.answers import pid_of
from scratchlab.sandbox.run import GRACE, Conversation, check_argv, printer
from scratchlab.stages.arguments import check_value

if TYPE_CHECKING:
    from scratchlab.sandbox.sandbox import Sandbox


class How(TypedDict, total=False):
    """The options of `Sandbox.run` that are about the start."""

    input: str | bytes
    env: dict[str, str] | None
    inherit: bool
    cwd: str | None
    stream: bool | Sink


class Running:
    """A command that was started and may have ended since. It is killed when nobody holds this any more."""

    def __init__(self, box: "Sandbox", argv: Sequence[str], how: How) -> None:
        self.argv = tuple(argv)
        self._box = box
        self._finished: Finished | None = None
        self._lost: SandboxError | None = None  # why nobody will ever know how it ended
        check_argv(self.argv)
        check_value("env", how.get("env") or {}, dict[str, str])
        check_value("cwd", how.get("cwd"), str | None)
        stdin, stream = how.get("input", b""), how.get("stream", False)
        sinks = (printer(sys.stdout), printer(sys.stderr)) if stream is True else (stream or None, stream or None)
        self._talk = Conversation(stdin.encode() if isinstance(stdin, str) else stdin, sinks)
        try:
            self.pid = self._start(how)  # as it is numbered inside
        except BaseException:
            self._talk.close()
            raise

    def _start(self, how: How) -> int:
        env = {**(os.environ if how.get("inherit", True) else {}), **(how.get("env") or {})}
        body = {"do": "run", "argv": list(self.argv), "env": env, "cwd": how.get("cwd")}
        try:
            return pid_of(self._box.ask(body, self._talk.theirs))
        finally:
            self._talk.close(self._talk.theirs)

    def ended(self, patience: float = 0.0) -> bool:
        """Whether it has ended, after waiting that many seconds at most. What it says meanwhile is read."""
        if self._finished is None and (ending := self._until(time.monotonic() + patience)):
            self._finish(ending)
        return self._finished is not None

    def wait(self, timeout: float | None = None) -> Finished:
        """Wait for its end; after `timeout` seconds it gets SIGTERM, and SIGKILL if that does not help."""
        if self._finished is None:
            ending = self._until(None if timeout is None else time.monotonic() + timeout)
            self._finish(ending or self._end(signal.SIGTERM), timed_out=ending is None)
        assert self._finished is not None
        return self._finished

    def stop(self) -> Finished:
        """Ask it to end with SIGTERM; after two seconds it is killed."""
        if self._finished is None:
            self._finish(self._end(signal.SIGTERM))
        return self.wait()

    def __repr__(self) -> str:
        return repr(self._finished) if self._finished else f"[{' '.join(self.argv)}: runs]"

    def __del__(self) -> None:
        # The agent kills a command whose status nobody wants to know any more.
        if getattr(self, "_finished", True) is None and hasattr(self, "pid") and self._lost is None:
            self._talk.close()

    def _until(self, deadline: float | None) -> dict[str, int] | None:
        if self._lost:
            raise self._lost
        try:
            return self._talk.until_ended(deadline)
        except KeyboardInterrupt:
            with suppress(GoneError):  # how it ended may have been read just as Ctrl-C came, and be lost
                self._finish(self._end(signal.SIGINT))
            raise
        except SandboxError as error:
            if isinstance(error, GoneError) and self._box.oom_kills():
                return {"signal": signal.SIGKILL}  # the limit killed the agent, and so the command
            self._lost = error
            self._talk.close()
            raise

    def _end(self, first: signal.Signals) -> dict[str, int]:
        """Ask it to end; a process that ignores that is killed."""
        self._box.kill(self.pid, first)
        ending = self._talk.until_ended(time.monotonic() + GRACE)
        if ending is None:
            self._box.kill(self.pid, signal.SIGKILL)
            ending = self._talk.until_ended(None)
        assert ending is not None
        return ending

    def _finish(self, ending: dict[str, int], timed_out: bool = False) -> None:
        self._talk.close()
        self._finished = self._talk.finished(self.argv, ending, timed_out)
