"""chroot: what many believe, and experiments that refute it."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from scratchlab import attacks, stages
from scratchlab.errors import KernelError
from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step


def program_is_there_despite_enoent() -> bool:
    """Put one program into an empty root, execute it, and look for it when that failed."""
    with TemporaryDirectory() as root, Sandbox("experiment") as box:
        Path(root, "bin").mkdir()
        program = Path(root, "bin/ls")
        program.write_bytes(Path("/bin/ls").read_bytes())
        program.chmod(0o755)
        box.play([step(stages.unshare_mount), step(stages.chroot, root)])
        with suppress(KernelError):
            box.run("/bin/ls")
            return False
        return program.exists()


def double_chroot_gets_out() -> bool:
    """Chroot, then try the oldest way out."""
    with TemporaryDirectory() as place, Sandbox("experiment") as box:
        Path(place, "secret").write_text("swordfish")
        Path(place, "root/below").mkdir(parents=True)
        box.play([step(stages.unshare_mount), step(stages.chroot, f"{place}/root")])
        evidence = box.play([step(attacks.double_chroot, f"{place}/secret")])[0]["value"]
        return "swordfish" in evidence["seen"]


def kill_from_a_chroot() -> bool:
    """Chroot into an empty directory, and end a process outside by its number."""
    with TemporaryDirectory() as root, Sandbox("victim") as other, Sandbox("experiment") as box:
        victim = other.start("sleep", "1000")

        def end(pid: int) -> None:
            os.kill(pid, signal.SIGTERM)

        box.play([step(stages.unshare_mount), step(stages.chroot, root), step(end, victim.pid)])
        return victim.wait().signal == "SIGTERM"


BELIEFS = {
    "enoent-means-absent": Belief(
        "No such file or directory: then the program is not there.",
        "A root filesystem holds /bin/ls and nothing else. You execute /bin/ls, and the kernel says ENOENT. Is it there?",
        {"no, or it would run": False, "yes": True},
        program_is_there_despite_enoent,
    ),
    "chroot-is-a-wall": Belief(
        "chroot is a security boundary.",
        "A process of root is in a chroot. Can it get out?",
        {"no, / is all it can name": False, "yes, by a second chroot": True},
        double_chroot_gets_out,
    ),
    "chroot-hides-processes": Belief(
        "What is in a chroot cannot touch processes outside.",
        "A process of root in a chroot knows the pid of a process outside. Can it end it?",
        {"no, it cannot see it": False, "yes": True},
        kill_from_a_chroot,
    ),
}  # fmt: skip
