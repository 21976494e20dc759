"""Lesson 3, mounts: whose tree is it?"""

from scratchlab import linux, stages
from scratchlab.attacks import weaknesses
from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.experiments import let
from scratchlab.lessons.hosts import shared_host
from scratchlab.lessons.outline import Outline
from scratchlab.observe import Snapshot
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step


def mounting(answer: Answer) -> Facts:
    """On a throw-away host whose mounts are shared: do the answer inside, and compare both mount tables."""
    with shared_host() as host, Sandbox("exercise") as box:
        box.play([step(weaknesses.stand_on, f"/proc/{host.pid}/ns/mnt")])
        before = host.snapshot()
        let(box, answer)
        after, inside = host.snapshot(), box.snapshot()
    return {
        "apart": inside.namespaces["mnt"] != after.namespaces["mnt"],
        "there": _tmp(inside),
        "arrived": len(after.mounts) - len(before.mounts),
        "host shared": all(mount.propagation.startswith("shared") for mount in after.mounts),
        "hears": any("shared" in mount.propagation or "master" in mount.propagation for mount in inside.mounts),
    }


def _tmp(seen: Snapshot) -> str:
    """The filesystem that is mounted last on /tmp, or ""."""
    return next((mount.fstype for mount in reversed(seen.mounts) if mount.target == "/tmp"), "")


def own_tmp() -> None:
    """A table of its own, no link to the host, and only then the mount."""
    linux.unshare(linux.Clone.NEWNS)
    linux.mount(None, "/", None, linux.Mount.REC | linux.Mount.PRIVATE)
    linux.mount("tmpfs", "/tmp", "tmpfs", linux.Mount.NOSUID | linux.Mount.NODEV)


OWN_TMP = Exercise(
    "own-tmp",
    answer="own_tmp",
    ask="""
    Write `own_tmp()` with `linux.unshare` and `linux.mount`. It runs inside, on a host whose mounts are all shared.
    Afterwards /tmp is an empty tmpfs inside; and neither now nor later does a mount travel between the two.
    """,
    observe=mounting,
    claims=(
        Claim(
            "/tmp is a tmpfs inside",
            lambda facts: "" if facts["there"] == "tmpfs" else "inside, nothing new is mounted on /tmp",
            (
                "Which call attaches a filesystem to a directory?",
                'linux.mount(source, target, filesystemtype): a tmpfs needs no source, so write "tmpfs" there.',
            ),
        ),
        Claim(
            "the sandbox has a mount table of its own",
            lambda facts: (
                "" if facts["apart"] else "the sandbox and the host have one and the same mount table: you mounted for both"
            ),
            (
                "Whose table did you write into?",
                "unshare(2) lists a flag for each kind of namespace. Which one, and before or after the mount?",
            ),
        ),
        Claim(
            "nothing arrived on the host",
            lambda facts: f"{facts['arrived']} mount arrived on the host, from a table that is apart" if facts["arrived"] else "",
            (
                "The tables are two. What links the mounts in them? Look at PROPAGATION in findmnt.",
                "In which order do you mount, and cut the link?",
                "linux.mount with the flag PRIVATE changes a mount, and attaches nothing.",
            ),
        ),
        Claim(
            "the host's own mounts are shared as before",
            lambda facts: "" if facts["host shared"] else "you changed the propagation of the host's own mounts",
            ("Whose table were you in when you made it private?", "First a table of your own, then change it."),
        ),
        Claim(
            "no mount inside hears of the host any more",
            lambda facts: "some mounts inside are still in one group with the host's" if facts["hears"] else "",
            ("/ is one mount of many. What of those below it?", "linux.Mount.REC"),
        ),
    ),
    solution=own_tmp,
)

OUTLINE = Outline(
    "Mounts: whose tree is it?",
    35,
    points={
        "start": (),
        "a mount table": (step(stages.unshare_mount),),
        "private": (step(stages.unshare_mount), step(stages.private_mounts)),
    },
    exercises=(OWN_TMP,),
    shared_host=True,
)
