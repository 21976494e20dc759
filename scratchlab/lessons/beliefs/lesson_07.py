"""Process 1: what many believe, and experiments that refute it."""

import errno
import os
import signal
from pathlib import Path

from scratchlab import linux, stages
from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.lessons.experiments import in_child, inside
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step


def host_in_ps_after_unshare_pid() -> bool:
    """List /proc inside, and look for a process of the host."""
    with Sandbox("experiment") as box:
        box.play([step(stages.unshare_pid)])
        return str(os.getpid()) in box.run("ls", "/proc").out.split()


def pid_1_survives_its_own_kill() -> bool:
    """Let a process of the namespace kill its number 1, and ask whether anybody is left to answer."""
    with Sandbox("experiment") as box:
        box.play([step(stages.unshare_pid)])
        return box.run("sh", "-c", "kill -9 1; echo still here").out == "still here"


def term_ends_pid_1() -> bool:
    """Make `sleep` process 1 of a namespace, and ask it to end; then kill it."""

    def act() -> bool:
        linux.unshare(linux.Clone.NEWPID)
        first = os.fork()
        if first == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.execlp("sleep", "sleep", "1")
        while Path(f"/proc/{first}/comm").read_text().strip() != "sleep":
            pass
        os.kill(first, signal.SIGTERM)
        status = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])  # 0 if it slept to its end
        return status == -signal.SIGTERM

    return bool(inside(act))


def fork_after_pid_1() -> str:
    """Let process 1 of a namespace end, then fork into it."""

    def act() -> str:
        linux.unshare(linux.Clone.NEWPID)
        in_child(lambda: 0)
        try:
            in_child(lambda: 0)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return ""

    return str(inside(act))


BELIEFS = {
    "a-pid-namespace-hides": Belief(
        "A PID namespace hides the processes of the host.",
        "A process is 1 in a new PID namespace, and nothing else was done. Does `ps` inside still list the host's?",
        {"no, it lists its own": False, "yes": True},
        host_in_ps_after_unshare_pid,
    ),
    "kill-9-always-kills": Belief(
        "Nothing survives kill -9.",
        "A program in a PID namespace says kill -9 1. What happens to process 1?",
        {"it dies": False, "nothing": True},
        pid_1_survives_its_own_kill,
    ),
    "term-always-stops": Belief(
        "SIGTERM ends a program that has no handler for it.",
        "`sleep` has no handler for SIGTERM. It is process 1. You send it TERM from the host. Does it end?",
        {"yes, that is the default": True, "no": False},
        term_ends_pid_1,
    ),
    "enomem-is-memory": Belief(
        "Cannot allocate memory: then memory ran out.",
        "Process 1 of a PID namespace has ended. What does the next fork into that namespace say?",
        {"nothing special, it becomes the new 1": "", "ENOMEM, with gigabytes free": "ENOMEM", "ESRCH": "ESRCH"},
        fork_after_pid_1,
    ),
}  # fmt: skip
