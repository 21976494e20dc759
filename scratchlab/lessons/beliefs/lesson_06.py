"""UTS and IPC namespaces: what many believe, and experiments that refute it."""

import os
import threading

from scratchlab import linux, stages
from scratchlab.attacks import weaknesses
from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.lessons.experiments import inside
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step


def renamed_in_one_thread() -> int:
    """Let one of two threads unshare and rename, and count the namespaces of the process."""

    def act() -> int:
        done, end = threading.Event(), threading.Event()

        def rename() -> None:
            linux.unshare(linux.Clone.NEWUTS)
            done.set()
            end.wait()

        other = threading.Thread(target=rename)
        other.start()
        done.wait()
        found = {os.readlink(f"/proc/self/task/{thread}/ns/uts") for thread in os.listdir("/proc/self/task")}
        end.set()
        other.join()
        return len(found)

    return int(inside(act))


def child_moves_along() -> bool:
    """Start a child, unshare in the parent, and compare the namespaces of the two."""
    with Sandbox("experiment") as box:
        child = box.start("sleep", "1000")
        box.play([step(stages.unshare_uts)])
        return os.readlink(f"/proc/{child.pid}/ns/uts") == os.readlink(f"/proc/{box.pid}/ns/uts")


def name_without_a_process() -> str:
    """Hold a namespace open, end its only process, enter it with another one, and ask for the hostname."""
    with Sandbox("experiment") as box:
        box.play([step(stages.unshare_uts), step(stages.hostname, "web")])
        held = os.open(f"/proc/{box.pid}/ns/uts", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with Sandbox("experiment") as other:

            def enter(path: str) -> None:
                linux.setns(os.open(path, os.O_RDONLY | os.O_CLOEXEC), linux.Clone.NEWUTS)

            other.play([step(enter, f"/proc/{os.getpid()}/fd/{held}")])
            return other.run("uname", "-n").out
    finally:
        os.close(held)


def shared_memory_is_seen() -> bool:
    """In a new IPC namespace, put something where shm_open(3) puts it, and look there from outside of that namespace."""
    with Sandbox("host") as host, Sandbox("experiment") as box:
        host.play([step(stages.unshare_mount), step(stages.private_mounts), step(stages.tmpfs, "/dev/shm")])
        box.play([step(weaknesses.stand_on, f"/proc/{host.pid}/ns/mnt"), step(stages.unshare_ipc)])
        box.run("sh", "-c", "echo swordfish > /dev/shm/segment")
        return host.run("cat", "/dev/shm/segment").out == "swordfish"


BELIEFS = {
    "a-process-has-a-namespace": Belief(
        "A namespace belongs to a process, or to a container.",
        "A process has two threads. One of them calls unshare(NEWUTS). In how many UTS namespaces is this one process?",
        {"in one": 1, "in two": 2},
        renamed_in_one_thread,
    ),
    "children-move-along": Belief(
        "What a process started before moves to the new namespace with it.",
        "A process has a child, and unshares its UTS namespace afterwards. Is the child in the new one?",
        {"yes, it belongs to that process": True, "no": False},
        child_moves_along,
    ),
    "a-namespace-ends-with-its-processes": Belief(
        "A namespace is gone when its last process has ended.",
        "The only process of a UTS namespace has ended. Somebody has the namespace's file open. What is the hostname in there?",
        {"there is nothing to enter any more": "", "as it was set": "web"},
        name_without_a_process,
    ),
    "shared-memory-is-ipc": Belief(
        "An IPC namespace isolates shared memory.",
        "A program in a new IPC namespace makes shared memory with shm_open(3). Does another one, outside of it, see that?",
        {"no, that is what the namespace is for": False, "yes": True},
        shared_memory_is_seen,
    ),
}  # fmt: skip
