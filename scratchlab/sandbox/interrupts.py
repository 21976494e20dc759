"""Ctrl-C, and what must not be cut in two by it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def uninterrupted(patience: int | None = None) -> Iterator[None]:
    """Let Ctrl-C wait until this is over: in the middle, it would leave what nobody knows of.  signal(7)

    `patience` is how many times it may be pressed in vain; once more, and it is obeyed at once. Without, it waits in any case.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    came: list[tuple[Any, Any]] = []

    def wait(number: int, frame: Any) -> None:
        came.append((number, frame))
        if patience is not None and len(came) > patience:
            handler(number, frame)

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            handler(*came[0])
