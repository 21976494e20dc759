"""Doing something elsewhere without going there: a thread or a child goes, and ends there.  setns(2)"""

import json
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from scratchlab.linux.flags import Clone
from scratchlab.linux.ledger import Bare, record
from scratchlab.linux.posix import fork
from scratchlab.linux.syscalls import setns, unshare

R = TypeVar("R")


def in_namespace(path: str, kind: Clone, act: Callable[[], R]) -> R:
    """Do `act` in the namespace behind a path, and come back with its result.  setns(2)"""

    def there() -> R:
        _join(path, kind)
        return act()

    return in_thread(there)


def in_thread(act: Callable[[], R]) -> R:
    """Do `act` in a thread of its own: namespaces belong to threads, so the caller stays where it is.  setns(2)"""
    results: list[R] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(act())
        except BaseException as error:  # for the caller to see, whatever it was
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def in_child(act: Callable[[], Any]) -> Any:
    """Do `act` in a child of its own. Gives its answer, as JSON can carry it; None if it died.  fork(2)"""
    reader, writer = os.pipe()
    pid = fork()
    if pid == 0:
        try:
            os.close(reader)
            with open(writer, "w") as told:
                json.dump(act(), told)
        finally:
            os._exit(0)  # whatever it was: never back into the code of the process that this is a copy of
    os.close(writer)
    with open(reader) as told:
        answer = told.read()
    os.waitpid(pid, 0)
    return json.loads(answer) if answer else None


def _join(path: str, kind: Clone) -> None:
    fd = record("open", {"pathname": path, "flags": Bare("RDONLY")}, lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    try:
        if kind == Clone.NEWNS:
            unshare(Clone.FS)  # threads share their root directory, and this one is about to get another
        setns(fd, kind)
    finally:
        os.close(fd)
