"""Doing something in another namespace, without going there.  setns(2)"""

import os
import threading
from collections.abc import Callable
from typing import TypeVar

from scratchlab.linux.flags import Clone
from scratchlab.linux.ledger import Bare, record
from scratchlab.linux.syscalls import setns, unshare

R = TypeVar("R")


def in_namespace(path: str, kind: Clone, act: Callable[[], R]) -> R:
    """Do `act` in the namespace behind a path, and come back with its result.  setns(2)

    A thread of its own goes there and ends there, because a namespace belongs to a thread: the caller stays where it is.
    """
    results: list[R] = []
    errors: list[BaseException] = []

    def there() -> None:
        try:
            _join(path, kind)
            results.append(act())
        except BaseException as error:  # for the caller to see, whatever it was
            errors.append(error)

    thread = threading.Thread(target=there)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _join(path: str, kind: Clone) -> None:
    fd = record("open", {"pathname": path, "flags": Bare("RDONLY")}, lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    try:
        if kind == Clone.NEWNS:
            unshare(Clone.FS)  # threads share their root directory, and this one is about to get another
        setns(fd, kind)
    finally:
        os.close(fd)
