"""Experiments that refute: each is made in a sandbox, in a moment, and returns what the kernel said."""

import errno
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scratchlab import attacks, linux, stages
from scratchlab.attacks import weaknesses
from scratchlab.errors import KernelError
from scratchlab.lessons.hosts import shared_host
from scratchlab.observe import Snapshot
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step


def inside(act: Callable[[], Any], *before: Callable[..., Any]) -> Any:
    """What a function returns in a sandbox that has come so far."""
    with Sandbox("experiment") as box:
        box.play([step(stage) for stage in before])
        return box.play([step(act)])[0]["value"]


def in_child(act: Callable[[], Any]) -> int:
    """Do `act` in a child and wait for it. Gives its wait status, as waitstatus_to_exitcode(3) reads it."""
    pid = os.fork()
    if pid == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        status = 99
        try:
            status = int(act() or 0)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# -- namespaces -------------------------------------------------------------------------------------------------------


def namespaces_without_a_container() -> Any:
    """Look at this very process."""
    kinds = {name for name in os.listdir("/proc/self/ns") if not name.endswith("_for_children")}
    return "all" if kinds == set(linux.NAMESPACES) else len(kinds)


def other_namespaces_after_one() -> int:
    """Unshare one, count the others."""
    with Sandbox("experiment") as box:
        box.apply(stages.unshare_uts)
        mine, theirs = Snapshot.of(os.getpid()).namespaces, box.snapshot().namespaces
        return sum(theirs[kind] != mine[kind] for kind in linux.NAMESPACES if kind != "uts")


def host_is_renamed() -> bool:
    """Set a hostname in a namespace of its own, and ask the host."""
    with Sandbox("experiment") as box:
        box.play([step(stages.unshare_uts), step(stages.hostname, "refuted")])
        return os.uname().nodename == "refuted"


# -- processes --------------------------------------------------------------------------------------------------------


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


# -- roots and mounts -------------------------------------------------------------------------------------------------


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


def mount_arrives_on_a_shared_host() -> bool:
    """Unshare on a host whose mounts are all shared, and mount."""
    return _arrives(lambda: linux.mount("tmpfs", "/mnt", "tmpfs"))


def mount_below_a_shared_mount() -> bool:
    """The same, after / alone was made private, on a directory that lies in another mount."""

    def act() -> None:
        linux.mount(None, "/", None, linux.Mount.PRIVATE)
        linux.mount("tmpfs", "/dev/shm", "tmpfs")

    return _arrives(act)


def _arrives(act: Callable[[], Any]) -> bool:
    """Whether something that is mounted in a new namespace is mounted on the throw-away host, too."""
    with shared_host() as host, Sandbox("experiment") as box:
        box.play([step(weaknesses.stand_on, f"/proc/{host.pid}/ns/mnt")])
        before = len(host.snapshot().mounts)
        box.play([step(stages.unshare_mount), step(act)])
        return len(host.snapshot().mounts) > before
