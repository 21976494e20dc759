"""A child that waits, does what it is told, and waits again: something to look at from outside."""

import os
import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Held:
    """A forked child that does the acts it was given, one at each `go()`."""

    def __init__(self, acts: tuple[Callable[[], Any], ...]) -> None:
        theirs, self._orders = os.pipe()
        self._answers, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._orders)
            os.close(self._answers)
            _obey(acts, theirs, tell)
        os.close(theirs)
        os.close(tell)

    def go(self) -> Any:
        """Have the next act done; give what it returned."""
        os.write(self._orders, b"x")
        size = int.from_bytes(os.read(self._answers, 4), "big")
        worked, value = pickle.loads(os.read(self._answers, size))
        assert worked, value
        return value

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._orders)
        os.close(self._answers)


def _obey(acts: tuple[Callable[[], Any], ...], orders: int, tell: int) -> None:
    for act in acts:
        os.read(orders, 1) or os._exit(0)
        try:
            answer = pickle.dumps((True, act()))
        except BaseException as error:
            answer = pickle.dumps((False, repr(error)))
        os.write(tell, len(answer).to_bytes(4, "big") + answer)
    os.read(orders, 1)
    os._exit(0)


@contextmanager
def held(*acts: Callable[[], Any], done: int = 0) -> Iterator[Held]:
    """A child to look at; the first `done` of its acts are done already."""
    child = Held(acts)
    try:
        for _ in range(done):
            child.go()
        yield child
    finally:
        child.end()
