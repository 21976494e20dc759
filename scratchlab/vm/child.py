"""QEMU, or apt-get, as a child that cannot outlive us, and cannot get lost: the counterpart of parent.py.

A guest that waits for a snapshot, or has just been saved to one, stands still. It does not notice that its host's program is
gone, so no end of a pipe will end its QEMU. On Linux the kernel does. On other systems the next look at the machines that run
does (registry.py).
"""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scratchlab.errors import HostError

Child = subprocess.Popen[bytes]

_PR_SET_PDEATHSIG = 1  # prctl(2)


class Spawned:
    """A child, from before it starts. It ends when nobody holds this any more: Ctrl-C may come at any time."""

    def __init__(self, words: Sequence[str], **options: Any) -> None:
        self._words, self._options, self._parent = words, options, os.getpid()
        self._settled = threading.Event()
        self._child: Child | None = None
        self._error: OSError | None = None
        _starter().put(self)

    def wait(self) -> Child:
        """The child, once it runs. Raises HostError if it does not start."""
        self._settled.wait()
        if not self._child:
            raise HostError(f"{Path(self._words[0]).name} does not start: {self._error}", "see `scratchlab vm doctor`")
        return self._child

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self._settled.wait()
        if self._child:
            self._child.kill()
            self._child.wait()

    def __del__(self) -> None:
        if self._child and self._parent == os.getpid():
            self.end()

    def start(self) -> None:
        """Start it. Only the thread below may."""
        try:
            self._child = subprocess.Popen(
                self._words, bufsize=0, preexec_fn=_dies_with(self._parent), start_new_session=True, **self._options
            )  # fmt: skip
        except OSError as error:
            self._error = error
        finally:
            self._settled.set()


def _dies_with(parent: int) -> Callable[[], None] | None:
    """What a child does before it becomes QEMU, so that the kernel kills it when we end, however we do."""
    if sys.platform != "linux":
        return None
    import ctypes

    prctl = ctypes.CDLL(None).prctl

    def act() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # we ended before the kernel knew that it should tell

    return act


# -- the thread that starts them --------------------------------------------------------------------------------------

# It does so for two reasons. The kernel means by a "parent" the thread that made the child, and kills the child when that thread
# ends; this one lasts as long as the program. And Ctrl-C interrupts only the main thread: no child is made and then forgotten.
_thread: tuple[int, "queue.SimpleQueue[Spawned]"] | None = None
_one_at_a_time = threading.Lock()


def _starter() -> "queue.SimpleQueue[Spawned]":
    global _thread
    with _one_at_a_time:
        # Threads stay behind in a fork(2), so a child of ours needs its own.
        if _thread is None or _thread[0] != os.getpid():
            _thread = os.getpid(), queue.SimpleQueue()
            threading.Thread(target=_start_all, args=[_thread[1]], daemon=True, name="starts QEMU").start()
        return _thread[1]


def _start_all(wanted: "queue.SimpleQueue[Spawned]") -> None:
    while True:
        wanted.get().start()
