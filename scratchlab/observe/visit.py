"""Do something in another process's namespaces, while the caller stays where it is.

Root sends a throw-away thread: namespaces belong to single threads, so only the thread moves. An ordinary user must join the
process's user namespace first, to have any rights over the others, and the kernel lets no thread do that which shares its
memory with another: then a throw-away child goes.
"""

import errno
import json
import os
import threading
from collections.abc import Callable
from typing import Any

from scratchlab import linux
from scratchlab.errors import KernelError

Answer = dict[str, Any]  # JSON-able: it may come from a child through a pipe


def visit(pid: int, kinds: linux.Clone, act: Callable[[], Answer]) -> Answer:
    """Do `act` in the namespaces `kinds` of process `pid`. Raises KernelError where the kernel does not let us.  setns(2)"""
    target = os.pidfd_open(pid)
    try:
        return _in_thread(lambda: _joined(target, kinds, act))
    except KernelError as error:
        if error.errno != errno.EPERM:
            raise
        return _in_child(lambda: _joined(target, kinds | linux.Clone.NEWUSER, act))
    finally:
        os.close(target)


def _joined(target: int, kinds: linux.Clone, act: Callable[[], Answer]) -> Answer:
    linux.setns(target, kinds)
    return act()


def _in_thread(act: Callable[[], Answer]) -> Answer:
    outcome: list[Answer] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(act())
        except BaseException as error:  # for the caller to see, whatever it was
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return outcome[0]


def _in_child(act: Callable[[], Answer]) -> Answer:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _tell(writer, act)
    os.close(writer)
    with open(reader) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    answer: Answer = json.loads(text) if text else {"errno": errno.ECHILD}
    if "errno" in answer:
        raise KernelError("setns", {}, answer["errno"], "this process belongs to another user")
    return answer


def _tell(writer: int, act: Callable[[], Answer]) -> None:
    """In the child: answer, and end without running anything that the parent had planned for its own exit."""
    try:
        answer = act()
    except OSError as error:
        answer = {"errno": error.errno}
    try:
        with open(writer, "w") as stream:
            json.dump(answer, stream)
    finally:
        os._exit(0)
