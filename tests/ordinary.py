"""An ordinary user to run Scratchlab as: a real one for the kernel, and for newuidmap(1), which is setuid and asks /etc.

The checkout and its Python may lie where nobody but root can read, such as /root. So each command starts in a mount namespace of
its own, where both are also in a folder that everybody can read, where /etc/passwd, subuid and subgid are ours, and where
/dev/net/tun is everybody's, as on any usual machine.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.command_line import ENVIRONMENT, ROOT, SITE, Result, _ended
from tests.conftest import eventually

UID = 54_321  # in no passwd(5) but ours
RANGE = (3_000_000, 65_536)  # what our subuid(5) grants
PYTHON = Path(os.path.realpath(sys.executable)).relative_to(sys.base_prefix)

BECOME = """
import json, os, sys
from scratchlab import linux
from scratchlab.linux import Clone, Mount
how = json.loads(sys.argv[1])
linux.unshare(Clone.NEWNS)
linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)
for source, target in how["binds"]:
    linux.mount(source, target, None, Mount.BIND | Mount.REC)
for group in how["groups"]:
    with open(f"{group}/cgroup.procs", "w") as file:
        file.write("0")
os.setgroups([]), os.setresgid(how["uid"], how["uid"], how["uid"]), os.setresuid(how["uid"], how["uid"], how["uid"])
os.chdir(how["home"])
os.execve(how["python"], [how["python"], *sys.argv[2:]], how["environment"])
"""


class Ordinary(NamedTuple):
    """A user, with a home that holds all that is needed."""

    home: Path
    ranges: bool = True  # whether /etc/subuid and /etc/subgid grant some
    binds: tuple[tuple[str, str], ...] = ()  # more to mount for its commands
    path: str = os.environ["PATH"]
    groups: tuple[str, ...] = ()  # the control groups that its commands start in

    @property
    def rootfs(self) -> Path:
        """A root filesystem of its own."""
        return self.home / "rootfs"

    def argv(self, *words: object) -> list[str]:
        """A Python command of this user, as root can start it."""
        granted = "granted" if self.ranges else "none"
        binds = [
            (sys.base_prefix, f"{self.home}/python"),
            (str(SITE), f"{self.home}/site"),
            (str(ROOT / "scratchlab"), f"{self.home}/lib/scratchlab"),
            (f"{self.home}/passwd", "/etc/passwd"),
            *((f"{self.home}/{granted}", f"/etc/{name}") for name in ("subuid", "subgid") if Path("/etc", name).exists()),
            *([(f"{self.home}/tun", "/dev/net/tun")] if Path("/dev/net/tun").exists() else []),
            *self.binds,
        ]
        environment = {
            "PATH": self.path, "HOME": str(self.home), "XDG_RUNTIME_DIR": f"{self.home}/run", "TERM": "dumb",
            "PYTHONPATH": f"{self.home}/lib:{self.home}/site", "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        how = {
            "binds": binds,
            "groups": self.groups,
            "uid": UID,
            "home": str(self.home),
            "python": f"{self.home}/python/{PYTHON}",
        }
        return [sys.executable, "-c", BECOME, json.dumps(how | {"environment": environment}), *map(str, words)]

    def scratchlab(self, *words: object, input: str = "", **options: Any) -> Result:
        """Run a command of ours to its end."""
        settings: dict[str, Any] = {"input": input, "capture_output": True, "text": True, "timeout": 60, "env": ENVIRONMENT}
        return subprocess.run(self.argv("-m", "scratchlab.cli", *words), check=False, **{**settings, **options})

    def said(self, *words: object, **options: Any) -> str:
        """What a command prints that is expected to work; notes are not looked at."""
        done = self.scratchlab(*words, **options)
        assert done.returncode == 0, done.stderr
        assert [line for line in done.stderr.splitlines() if not line.startswith("scratchlab: note: ")] == []
        return done.stdout

    def python(self, program: str, *words: object) -> str:
        """What a Python program of this user prints."""
        done = subprocess.run(
            self.argv("-c", program, *words), capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    @contextmanager
    def running(self, *words: object, says: str = "", **options: Any) -> Iterator[subprocess.Popen[str]]:
        """A command that goes on while the test looks; if it `says` something, only after that."""
        settings: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True, "env": ENVIRONMENT}
        process = subprocess.Popen(self.argv("-m", "scratchlab.cli", *words), **{**settings, **options})
        try:
            if says:
                assert process.stdout is not None
                assert process.stdout.readline() == f"{says}\n"
            yield process
        finally:
            process.kill() if process.poll() is None and not _ended(process) else None
            process.wait(30)
            process.stdout.close() if process.stdout is not None else None

    def init_of(self, name: str) -> int:
        """Process 1 of a container of this user, as the host numbers it, once it is complete."""
        eventually(lambda: name in [line.split()[0] for line in self.said("ps").splitlines()])
        return int(next(line.split()[1] for line in self.said("ps").splitlines() if line.split()[0] == name))

    def left_behind(self) -> set[str]:
        """What is in this user's run directory, but for the lock, and which processes it has."""
        files = {str(path) for path in (self.home / "run").rglob("*") if path.is_symlink() or not path.is_dir()}
        uids = {UID, *range(RANGE[0], sum(RANGE))}
        processes = {f"process {path.name}" for path in Path("/proc").glob("[0-9]*") if _owner(path) in uids}
        return {name for name in files if not name.endswith("/lock")} | processes


@contextmanager
def delegated(user: Ordinary, *trees: str) -> Iterator[tuple[Ordinary, dict[str, Path]]]:
    """The user with a control group of its own in each of these trees, and those groups; as an administrator delegates them."""
    groups = {tree: Path("/sys/fs/cgroup", tree, f"scratchlab-test-{os.getpid()}") for tree in trees}
    # In version 2 the group that is divided may hold no process itself: so there is one more, as systemd makes them.
    leaves = {
        tree: group / "session" if (group.parent / "cgroup.controllers").exists() else group for tree, group in groups.items()
    }
    for leaf in leaves.values():
        leaf.mkdir(parents=True)
    for path in {*groups.values(), *leaves.values()}:
        for file in ("", "cgroup.procs", "tasks", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(path / file, UID, UID) if (path / file).exists() else None
    try:
        yield user._replace(groups=tuple(map(str, leaves.values()))), groups
    finally:
        for path in [*leaves.values(), *groups.values()]:
            path.rmdir() if path.exists() else None


def _owner(process: Path) -> int:
    try:
        status = (process / "status").read_text()
    except OSError:
        return -1
    if "\nState:\tZ" in status:  # nothing of it is left but its name
        return -1
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("Uid:")))


@contextmanager
def an_ordinary_user(programs: list[str]) -> Iterator[Ordinary]:
    """A user for as long as tests want one, and a root filesystem that it has made itself."""
    home = Path(tempfile.mkdtemp(prefix="scratchlab-user-", dir="/tmp"))
    home.chmod(0o755)
    for name in ("python", "site", "lib/scratchlab", "run"):
        (home / name).mkdir(parents=True)
    name = "scratchlab-test"
    passwd = Path("/etc/passwd").read_text() + f"{name}:x:{UID}:{UID}::{home}:/bin/sh\n"
    for file, text in (("passwd", passwd), ("granted", f"{name}:{RANGE[0]}:{RANGE[1]}\n"), ("none", "")):
        (home / file).write_text(text)
    os.mknod(home / "tun", stat.S_IFCHR, os.makedev(10, 200))
    (home / "tun").chmod(0o666)
    for path in (home, home / "run"):
        os.chown(path, UID, UID)
    (home / "run").chmod(0o700)
    user = Ordinary(home)
    try:
        user.said("rootfs", "create", user.rootfs, "--from", "host", *programs)
        yield user
    finally:
        shutil.rmtree(home)
