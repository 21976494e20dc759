"""Lesson 2, chroot: a root of its own, and why it holds nobody."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from scratchlab import linux, stages
from scratchlab.errors import KernelError
from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.outline import Outline
from scratchlab.linux import paths
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step

PROGRAM = "/bin/ls"
LOADER = re.compile(rb"/lib[\w/]*/ld-[\w.-]+")


def running_in(answer: Answer) -> Facts:
    """Let the answer fill an empty directory. What is there then, and does the program run in it?"""
    with TemporaryDirectory() as root, Sandbox("exercise") as box:
        answer(root)
        missing = [path for path in needed() if not Path(root + path).is_file()]
        facts = {
            "program": os.access(paths.resolve(root, PROGRAM), os.X_OK),
            "there": os.path.lexists(root + PROGRAM),
            "missing": missing,
        }
        box.play([step(stages.unshare_mount), step(linux.chroot, root), step(linux.chdir, "/")])
        try:
            done = box.run(PROGRAM, "/")
        except KernelError as error:
            return facts | {"ran": False, "said": error.message}
        return facts | {"ran": done.ok, "said": done.err or done.out}


def needed() -> list[str]:
    """The files that the program asks for: its libraries, and its loader.  ld.so(8)"""
    return _listed(PROGRAM)


def _listed(program: str) -> list[str]:
    loader = LOADER.search(Path(program).read_bytes())
    assert loader is not None, f"{program} is a static program"
    # What ldd(1) does, where there is no ldd: the loader itself lists what it would load.
    words = [loader.group().decode(), "--list", program]
    return re.findall(r"/\S+", subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def _loaders(facts: Facts) -> Iterator[str]:
    return (path for path in facts["missing"] if "/ld-" in path)


def fill(root: str) -> None:
    """The program, and all that its loader lists, each at its own path."""
    loader = re.search(rb"/lib[\w/]*/ld-[\w.-]+", Path("/bin/ls").read_bytes())[0].decode()  # type: ignore[index]
    listing = subprocess.run([loader, "--list", "/bin/ls"], capture_output=True, text=True, check=True).stdout
    for path in ["/bin/ls", *re.findall(r"/\S+", listing)]:
        os.makedirs(root + os.path.dirname(path), exist_ok=True)
        shutil.copy(path, root + path)


FILL = Exercise(
    "smallest-root",
    answer="fill",
    ask="""
    Write `fill(root)`. It gets an empty directory and puts into it what `/bin/ls` needs to run there, after a chroot:
    copies, each at the place where the program will look for it.
    """,
    observe=running_in,
    claims=(
        Claim(
            "the program is in the new root, at /bin/ls",
            lambda facts: "" if facts["there"] else "there is no bin/ls in the directory",
            (
                "Where will the kernel look for /bin/ls, once the directory is the root?",
                'os.makedirs(root + "/bin"), then copy the file there.',
            ),
        ),
        Claim(
            "it is a file that can be executed",
            lambda facts: (
                ""
                if facts["program"]
                else "bin/ls is there, but nobody may execute it, or it is a link that leads nowhere in there"
            ),
            (
                "Which properties of the file does your way of copying keep?",
                "shutil.copy keeps the mode; shutil.copyfile does not.",
            ),
        ),
        Claim(
            "its loader is where the program asks for it",
            lambda facts: "".join(f"the loader {path} is not there" for path in _loaders(facts)),
            (
                "The kernel says ENOENT of a file that is there. Which file does it miss?",
                "readelf -l /bin/ls names an interpreter; its path is among the bytes of /bin/ls.",
            ),
        ),
        Claim(
            "its libraries are where the loader looks for them",
            lambda facts: f"missing: {', '.join(facts['missing'])}" if facts["missing"] else "",
            (
                "Now it is not the kernel that complains. Who says so?",
                "Keep each library's whole path, as the loader lists it with --list: make the directories first.",
            ),
        ),
        Claim(
            "it runs",
            lambda facts: "" if facts["ran"] else f"it says: {facts['said']}",
            ("Read what it says: this comes from the program itself, or from its loader.",),
        ),
    ),
    solution=fill,
)

OUTLINE = Outline(
    "A root of its own: chroot", 35, points={"start": (), "a mount table": (step(stages.unshare_mount),)}, exercises=(FILL,)
)
