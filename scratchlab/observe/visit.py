"""Do something in another process's namespaces, while the caller stays where it is.

Root sends a throw-away thread: namespaces belong to single threads, so only the thread moves. An ordinary user must join the
process's user namespace first, to have any rights over the others, and the kernel lets no process with several threads do
that: then a throw-away child goes.
"""

import errno
import os
from collections.abc import Callable
from typing import Any

from scratchlab import linux
from scratchlab.errors import KernelError
from scratchlab.linux.elsewhere import in_child, in_thread

Answer = dict[str, Any]  # JSON-able: it may come from a child through a pipe


def visit(pid: int, kinds: linux.Clone, act: Callable[[], Answer]) -> Answer:
    """Do `act` in the namespaces `kinds` of process `pid`. Raises KernelError where the kernel does not let us.  setns(2)"""
    target = os.pidfd_open(pid)
    try:
        return in_thread(lambda: _joined(target, kinds, act))
    except KernelError as error:
        if error.errno != errno.EPERM:
            raise
        return _as_its_user(lambda: _joined(target, kinds | linux.Clone.NEWUSER, act))
    finally:
        os.close(target)


def _joined(target: int, kinds: linux.Clone, act: Callable[[], Answer]) -> Answer:
    linux.setns(target, kinds)
    return act()


def _as_its_user(act: Callable[[], Answer]) -> Answer:
    def there() -> Answer:
        try:
            return act()
        except OSError as error:
            return {"errno": error.errno}

    answer: Answer = in_child(there) or {"errno": errno.ECHILD}
    if "errno" in answer:
        raise KernelError("setns", {}, answer["errno"], "this process belongs to another user")
    return answer
