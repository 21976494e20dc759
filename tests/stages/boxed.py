"""A process under limits, for tests: tracked as a sandbox is, but with no agent in it."""

import os
import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from scratchlab.journal import Journal
from scratchlab.linux import cgroupfs
from scratchlab.stages import cgroups
from scratchlab.stages.stage import Target


class Boxed:
    """A tracked child that waits, does one thing when told, and says what came of it."""

    def __init__(self, act: Callable[[], Any], name: str = "test") -> None:
        self._answer, child_answer = os.pipe()
        child_go, self._go = os.pipe()
        journal = Journal.claim(f"{name}-{os.getpid()}")
        pid = os.fork()
        if pid == 0:
            os.close(self._go)
            os.read(child_go, 1)
            _do(act, child_answer)
        os.close(child_answer)
        os.close(child_go)
        self.target = Target(pid, journal)
        cgroups.track(self.target)

    def go(self) -> Any:
        """Let it act. Gives what `act` returned, or the number of the signal that ended it."""
        os.write(self._go, b"x")
        text = os.read(self._answer, 65536)
        return pickle.loads(text) if text else self.ended_by()

    def ended_by(self) -> int:
        """The signal that ended it."""
        return os.waitid(os.P_PID, self.target.pid, os.WEXITED | os.WNOWAIT).si_status  # type: ignore[union-attr]

    def close(self) -> None:
        os.kill(self.target.pid, signal.SIGKILL)
        self.target.journal.close()
        os.waitpid(self.target.pid, 0)
        os.close(self._answer)
        os.close(self._go)


def _do(act: Callable[[], Any], answer: int) -> None:
    try:
        os.write(answer, pickle.dumps(act()))
        os.close(answer)
        signal.pause()
    finally:
        os._exit(1)


@contextmanager
def boxed(act: Callable[[], Any] = signal.pause, name: str = "test") -> Iterator[Boxed]:
    box = Boxed(act, name)
    try:
        yield box
    finally:
        box.close()


def group(box: Boxed, controller: str | None = None) -> str:
    return cgroupfs.path_of(controller, box.target.name)


def used(box: Boxed) -> int:
    """Microseconds of CPU, as the control group counts them."""
    return int(cgroupfs.limits_and_usage(box.target.pid)["cpu.usage_usec"])


def disk() -> str:
    return f"{os.major(os.stat('/').st_dev)}:{os.minor(os.stat('/').st_dev)}"


LIMITS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "cpu": (cgroups.cpu, (0.2,)),
    "memory": (cgroups.memory, ("64M",)),
    "pids": (cgroups.pids, (20,)),
    "io": (cgroups.io, (disk(), None, "2M")),
}
