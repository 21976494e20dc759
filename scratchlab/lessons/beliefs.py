"""The bank of false beliefs: what many think, a question about it, and the experiment in which the kernel says otherwise.

The first option is the belief. An experiment returns one of the values that the options stand for, from a real sandbox.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from scratchlab.lessons import experiments
from scratchlab.lessons.predict import Prediction, Revealed, Told


class Belief(NamedTuple):
    """One false belief."""

    belief: str
    lesson: str
    question: str
    options: Mapping[str, Any]  # text → what the experiment would return; the first is what the belief leads one to expect
    experiment: Callable[[], Any]


class Question(Prediction):
    """A belief's question; its reveal makes the experiment."""

    def __init__(self, belief: Belief, told: Told = lambda _: None) -> None:
        super().__init__(belief.question, belief.options, told)
        self.belief = belief

    def reveal(self, value: Any = None) -> Revealed:
        """Make the experiment, and set the guess beside what came of it."""
        return super().reveal(self.belief.experiment())


BELIEFS = {
    "namespaces-come-with-docker": Belief(
        "Namespaces appear when a container is started.", "00",
        "How many kinds of namespaces is a process in, on a machine without any container?",
        {"none": 0, "only a network": 1, "one of each kind": "all"},
        experiments.namespaces_without_a_container,
    ),
    "unshare-gives-everything": Belief(
        "A new namespace makes a process a container.", "00",
        "A process unshares its UTS namespace. How many of its other namespaces are new?",
        {"all of them": 7, "none": 0},
        experiments.other_namespaces_after_one,
    ),
    "exec-makes-a-process": Belief(
        "exec starts a process.", "01",
        "A process executes another program. Which pid does the program have?",
        {"a new one": "new", "the same": "same"},
        experiments.pid_after_exec,
    ),
    "children-see-closed-files": Belief(
        "What the parent closes is closed in the child, too.", "01",
        "A parent closes a file after it forked. Can the child still read it?",
        {"no, it is one file": False, "yes, it has a descriptor of its own": True},
        experiments.child_reads_after_parent_closed,
    ),
    "enoent-means-absent": Belief(
        "No such file or directory: then the program is not there.", "02",
        "A root filesystem holds /bin/ls and nothing else. You execute /bin/ls, and the kernel says ENOENT. Is it there?",
        {"no, or it would run": False, "yes": True},
        experiments.program_is_there_despite_enoent,
    ),
    "chroot-is-a-wall": Belief(
        "chroot is a security boundary.", "02",
        "A process of root is in a chroot. Can it get out?",
        {"no, / is all it can name": False, "yes, by a second chroot": True},
        experiments.double_chroot_gets_out,
    ),
    "chroot-hides-processes": Belief(
        "What is in a chroot cannot touch processes outside.", "02",
        "A process of root in a chroot knows the pid of a process outside. Can it end it?",
        {"no, it cannot see it": False, "yes": True},
        experiments.kill_from_a_chroot,
    ),
    "a-mount-namespace-is-a-copy": Belief(
        "A mount namespace is a copy, so nothing leaks out of it.", "03",
        "The host's mounts are shared. A process unshares its mount namespace and mounts something. Does the host see it?",
        {"no, it has a copy": False, "yes": True},
        experiments.mount_arrives_on_a_shared_host,
    ),
    "private-once-is-private": Belief(
        "To make / private takes all that is mounted below it along.", "03",
        "Make / private without REC, then mount below /dev, which is shared still. Does the host see that?",
        {"no, / is private": False, "yes, /dev is a mount of its own": True},
        experiments.mount_below_a_shared_mount,
    ),
    "a-pid-namespace-hides": Belief(
        "A PID namespace hides the processes of the host.", "07",
        "A process is 1 in a new PID namespace, and nothing else was done. Does `ps` inside still list the host's?",
        {"no, it lists its own": False, "yes": True},
        experiments.host_in_ps_after_unshare_pid,
    ),
    "kill-9-always-kills": Belief(
        "Nothing survives kill -9.", "07",
        "A program in a PID namespace says kill -9 1. What happens to process 1?",
        {"it dies": False, "nothing": True},
        experiments.pid_1_survives_its_own_kill,
    ),
    "term-always-stops": Belief(
        "SIGTERM ends a program that has no handler for it.", "07",
        "`sleep` has no handler for SIGTERM. It is process 1. You send it TERM from the host. Does it end?",
        {"yes, that is the default": True, "no": False},
        experiments.term_ends_pid_1,
    ),
    "enomem-is-memory": Belief(
        "Cannot allocate memory: then memory ran out.", "07",
        "Process 1 of a PID namespace has ended. What does the next fork into that namespace say?",
        {"nothing special, it becomes the new 1": "", "ENOMEM, with gigabytes free": "ENOMEM", "ESRCH": "ESRCH"},
        experiments.fork_after_pid_1,
    ),
    "a-hostname-is-the-machines": Belief(
        "Root can only rename the whole machine.", "00",
        "A process with a UTS namespace of its own sets its hostname. What does the host call itself now?",
        {"the new name": True, "what it was called before": False},
        experiments.host_is_renamed,
    ),
}  # fmt: skip
