"""Capabilities: what many believe, and experiments that refute it."""

import os
from pathlib import Path

from scratchlab import linux, stages
from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.lessons.course.lesson_13 import PYTHON
from scratchlab.lessons.folder import Folder
from scratchlab.sandbox import Sandbox
from scratchlab.stages import Step, step


def root_without_capabilities_reads() -> bool:
    """Take all capabilities from root, and open a file that is another user's alone."""
    return _reads_the_files_of_others(step(stages.capabilities, []))


def program_after_effective_was_dropped() -> bool:
    """Empty the effective set and leave the others; then execute a program that opens such a file."""

    def drop_effective() -> None:
        linux.capset(linux.capget()._replace(effective=0))

    return _reads_the_files_of_others(step(drop_effective))


def root_that_promised_reads() -> bool:
    """Set no_new_privs as root, and open such a file."""
    return _reads_the_files_of_others(step(stages.no_new_privs))


def _reads_the_files_of_others(*todo: Step) -> bool:
    home = Folder.make("13")
    try:
        file = Path(home.path, "theirs")
        file.touch(mode=0o600)
        os.chown(file, 1000, 1000)
        with Sandbox("experiment") as box:
            box.play(todo)
            return box.run("cat", str(file)).ok
    finally:
        home.close()


def ordinary_user_serves_on_port_80() -> bool:
    """Another user than root, with one ambient capability, executes a program that binds the port."""
    with Sandbox("experiment") as box:
        box.play([step(stages.unshare_net), step(stages.user, 1000, keep_capabilities=True)])
        box.play([step(stages.ambient, ["NET_BIND_SERVICE"])])
        return box.run(PYTHON, "-c", "import socket; socket.socket().bind(('', 80))").ok


BELIEFS = {
    "root-can-do-everything": Belief(
        "Root can do everything, because it is root.",
        "A process is uid 0 and has no capability. Can it read a file that only user 1000 may read?",
        {"yes, it is root": True, "no": False},
        root_without_capabilities_reads,
    ),
    "only-root-has-powers": Belief(
        "Who is not root can do nothing special.",
        "Can a program of an ordinary user serve on port 80, though no file and no sysctl was changed?",
        {"no, that takes root": False, "yes, with one capability": True},
        ordinary_user_serves_on_port_80,
    ),
    "dropping-effective-is-enough": Belief(
        "A capability that is not in the effective set is gone.",
        "Root empties its effective set, and executes a program. Can that read what only user 1000 may read?",
        {"no, the capability was dropped": False, "yes, execve gives it back": True},
        program_after_effective_was_dropped,
    ),
    "no-new-privs-takes-away": Belief(
        "With no_new_privs a process has fewer privileges.",
        "Root sets no_new_privs, and nothing else. Can it still read a file that only user 1000 may read?",
        {"no, privileges are gone": False, "yes, it promised to gain none": True},
        root_that_promised_reads,
    ),
}  # fmt: skip
