"""Lesson 6, names: UTS and IPC namespaces, and what a namespace belongs to."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scratchlab import linux, stages
from scratchlab.attacks import weaknesses
from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.experiments import let
from scratchlab.lessons.outline import Outline
from scratchlab.linux.proc import MountPoint
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step

NAME = "machine"  # of the host to throw away


def keeping(answer: Answer) -> Facts:
    """Let the answer work on a host to throw away, and end its processes. What is at the path then?"""
    with TemporaryDirectory() as folder, Sandbox("host") as host:
        path = f"{folder}/kept"
        host.play([step(stages.unshare_uts), step(stages.unshare_mount), step(stages.private_mounts)])
        with Sandbox("exercise") as box:
            box.play([step(stages.join, host.pid, "uts", "mnt")])
            # Applied, and not played: both refuse where the answer would work on the real machine.
            box.apply(stages.private_mounts)
            box.apply(stages.hostname, NAME)
            let(box, answer, path)
        # Here the sandbox is closed: every process of it has ended.
        after = host.snapshot()
        held = next((mount for mount in after.mounts if mount.target == path), None)
        facts: dict[str, Any] = {
            "held": held is not None and held.fstype == "nsfs",
            "there": os.path.lexists(path),
            "host": after.hostname,
        }
        return facts | (_looked_into(held, host) if held and facts["held"] else {})


def _looked_into(held: MountPoint, host: Sandbox) -> dict[str, Any]:
    """Which namespace is mounted there; and its hostname, from a visitor's report."""
    kind = held.root.partition(":")[0]  # the kernel calls it uts:[4026532177]

    def enter(path: str) -> str:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        linux.setns(fd, linux.Clone.NEWUTS)
        return os.uname().nodename

    facts = {"kind": kind, "own": held.root != os.readlink(f"/proc/{host.pid}/ns/uts"), "name": ""}
    if kind == "uts":
        with Sandbox("visitor") as visitor:
            visitor.play([step(weaknesses.stand_on, f"/proc/{host.pid}/ns/mnt")])
            facts["name"] = visitor.play([step(enter, held.target)])[0]["value"]
    return facts


def keep(path: str) -> None:
    """A namespace, a name in it, and a mount of the file that stands for it."""
    Path(path).touch()
    linux.unshare(linux.Clone.NEWUTS)
    linux.sethostname("kept")
    linux.mount("/proc/self/ns/uts", path, None, linux.Mount.BIND)


KEEP = Exercise(
    "keep-it",
    answer="keep",
    ask="""
    Write `keep(path)` with `linux.*`. It runs inside, and makes a new UTS namespace with the hostname `kept`. When every
    process of the sandbox has ended, the namespace is still there, and who opens `path` can enter it. So far, there is
    nothing at `path`.
    """,
    observe=keeping,
    claims=(
        Claim(
            "a namespace is mounted at the path, when all processes have ended",
            lambda facts: (
                ""
                if facts["held"]
                else "something is there, but no mount of a namespace"
                if facts["there"]
                else "nothing is at the path"
            ),
            (
                "Processes, open files and mounts keep a namespace. Which of the three is left when all processes have ended?",
                "A bind mount of a file, onto a file. Which file in /proc stands for the namespace of a process?",
            ),
        ),
        Claim(
            "it is a UTS namespace",
            lambda facts: "" if facts["kind"] == "uts" else f"it is of the kind {facts['kind']}",
            ("Which kind holds the hostname? Look into /proc/self/ns.", "linux.Clone.NEWUTS, and the file called uts."),
        ),
        Claim(
            "it is a new one",
            lambda facts: "" if facts["own"] else "it is the machine's own, which would be there anyway",
            (
                "In which namespace were you when you mounted the file?",
                "/proc/self/ns/uts leads to another namespace before unshare(2) and after it.",
            ),
        ),
        Claim(
            "the hostname in it is kept",
            lambda facts: "" if facts["name"] == "kept" else f"who enters is on a machine called {facts['name']}",
            ("A new UTS namespace begins as a copy. Of what?", "linux.sethostname, in the new one."),
        ),
        Claim(
            "the machine is called as before",
            lambda facts: "" if facts["host"] == NAME else f"you have renamed the machine: it is called {facts['host']}",
            ("Whose name did you set? Look at the order of your calls.", "First a namespace of its own, then the name."),
        ),
    ),
    solution=keep,
)

OUTLINE = Outline(
    "Names: UTS and IPC",
    30,
    points={
        "start": (),
        "named": (step(stages.unshare_uts), step(stages.hostname, "web")),
        "own queues": (step(stages.unshare_ipc),),
    },
    exercises=(KEEP,),
)
