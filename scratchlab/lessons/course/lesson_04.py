"""Lesson 4, pivot_root: another root for the whole mount table, and the old one gone from it."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from scratchlab import linux, stages
from scratchlab.attacks import weaknesses
from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.experiments import let
from scratchlab.lessons.outline import Outline
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step

PRIVATE = (step(stages.unshare_mount), step(stages.private_mounts))


def pivoting(answer: Answer) -> Facts:
    """Let the answer work from a directory of the host. Where is it then, and where does a visitor land?"""
    with TemporaryDirectory() as place, Sandbox("exercise") as box, Sandbox("visitor") as visitor:
        root = f"{place}/root"
        Path(root, "etc").mkdir(parents=True)
        box.play([*PRIVATE, step(linux.chdir, place)])
        changed = os.stat(root).st_mtime_ns
        let(box, answer, root)
        # setns(2) leads whoever enters a mount namespace to the root of its table, wherever its processes are.
        visitor.play([step(weaknesses.stand_on, f"/proc/{box.pid}/ns/mnt")])
        return {
            "root": _is(root, box, "root"),
            "mounts": len(box.snapshot().mounts),
            "visitor": _is(root, visitor, "root"),
            "touched": os.stat(root).st_mtime_ns != changed,
            "inside": _is(root, box, "cwd"),
        }


def _is(directory: str, box: Sandbox, link: str) -> bool:
    """Whether a process's root, or its working directory, is this one.  proc_pid_root(5)"""
    return os.path.samefile(directory, f"/proc/{box.pid}/{link}")


def pivot(root: str) -> None:
    """A mount, the same place twice, and away with what lies on top."""
    linux.mount(root, root, None, linux.Mount.BIND | linux.Mount.REC)
    linux.chdir(root)
    linux.pivot_root(".", ".")
    # We stand in the new root, and the old one lies on top: umount2(2) takes the upper one, chdir(2) would not see it.
    linux.umount2(".", linux.Umount.DETACH)
    linux.chdir("/")


NO_TRACE = Exercise(
    "no-trace",
    answer="pivot",
    ask="""
    Write `pivot(root)` with `linux.*`. It runs inside, in a mount table of its own whose mounts are private. Afterwards
    `root`, so far a plain directory of the host, is the root of the table, and nothing of the host is left in it.
    And nothing is made in `root`, not even for a moment: it might be read-only.
    """,
    observe=pivoting,
    claims=(
        Claim(
            "the root directory is the new one",
            lambda facts: "" if facts["root"] else "what the sandbox calls / is still the host's",
            (
                "Which call makes a mount the root, and what has to be a mount for it?",
                "linux.mount with BIND makes a mount of a directory; linux.pivot_root takes it, and a place for the old root.",
            ),
        ),
        Claim(
            "nothing of the host is mounted in it",
            lambda facts: (
                "" if facts["mounts"] <= 1 else f"{facts['mounts']} mounts are in reach, and all but the root are the host's"
            ),
            (
                "The old root has moved. Where is it now?",
                "linux.umount2, of the place where it is. It is in use; which flag does not mind?",
            ),
        ),
        Claim(
            "it is the root of the table, for whoever comes later, too",
            lambda facts: (
                ""
                if facts["visitor"]
                else "a process that entered this mount namespace afterwards stood in the host's root directory"
            ),
            (
                "Whose property did you change: the process's, or the table's?",
                "chroot(2) changes one process, pivot_root(2) the mount table.",
            ),
        ),
        Claim(
            "nothing was made in the root filesystem",
            lambda facts: "something was made in it, if only for a moment: its time has changed" if facts["touched"] else "",
            (
                "Two mounts can be at one place. Which of them does the kernel show?",
                "Read the NOTES of pivot_root(2): new_root and put_old may be the same directory.",
            ),
        ),
        Claim(
            "the working directory is inside, too",
            lambda facts: "" if facts["inside"] else "the sandbox works in a directory of the host still, which no mount shows",
            ("Which directory does a process use besides its root?", "One linux.chdir at the end, or one before you begin."),
        ),
    ),
    solution=pivot,
)

OUTLINE = Outline("pivot_root: burn the bridge", 35, points={"start": (), "private": PRIVATE}, exercises=(NO_TRACE,))
