"""A process: what many believe, and experiments that refute it."""

import os

from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.lessons.experiments import inside
from scratchlab.sandbox import Sandbox


def pid_after_exec() -> str:
    """Let a shell say its pid, then execute another one that says its own."""
    with Sandbox("experiment") as box:
        before, after = box.run("sh", "-c", "echo $$; exec sh -c 'echo $$'").lines
        return "same" if before == after else "new"


def child_reads_after_parent_closed() -> bool:
    """Fork, close in the parent, and let the child read."""

    def act() -> bool:
        reader, writer = os.pipe()
        os.write(writer, b"secret")
        os.close(writer)
        go, gone = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(gone)
            os.read(go, 1)  # until the parent has closed its own
            os._exit(os.read(reader, 6) == b"secret")
        os.close(reader)
        os.close(gone)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1

    return bool(inside(act))


BELIEFS = {
    "exec-makes-a-process": Belief(
        "exec starts a process.",
        "A process executes another program. Which pid does the program have?",
        {"a new one": "new", "the same": "same"},
        pid_after_exec,
    ),
    "children-see-closed-files": Belief(
        "What the parent closes is closed in the child, too.",
        "A parent closes a file after it forked. Can the child still read it?",
        {"no, it is one file": False, "yes, it has a descriptor of its own": True},
        child_reads_after_parent_closed,
    ),
}  # fmt: skip
