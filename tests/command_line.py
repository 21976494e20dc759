"""The command line as a user has it: a process of its own, judged by what it prints, its exit status, and the kernel."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cloudpickle

from tests.conftest import eventually

ROOT = Path(__file__).resolve().parent.parent
SCRATCHLAB = (sys.executable, "-m", "scratchlab.cli")
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}

# Where this Python has what we depend on: its own directory for that, or one that PYTHONPATH names.
SITE = Path(cloudpickle.__file__).parents[1]

# The same as another user, who could perhaps not even read this checkout: so all of it is read before.
BECOME_NOBODY = """
import os, sys
from scratchlab import cli, commands, container, doctor, tour
from scratchlab.lab import cli as lab
from scratchlab.sandbox import attach, client, keeper
cli.parser().format_help()  # imports what it needs only when it is used
os.setgroups([]), os.setresgid(65534, 65534, 65534), os.setresuid(65534, 65534, 65534)
sys.exit(cli.main(sys.argv[1:]))
"""

Result = subprocess.CompletedProcess[str]


def scratchlab(*words: object, input: str = "", nobody: bool = False, **options: Any) -> Result:
    """Run a command to its end, if asked for as an ordinary user."""
    argv = [*((sys.executable, "-c", BECOME_NOBODY) if nobody else SCRATCHLAB), *map(str, words)]
    settings: dict[str, Any] = {"input": input, "capture_output": True, "text": True, "timeout": 60, "env": ENVIRONMENT}
    return subprocess.run(argv, check=False, **{**settings, **options})


def said(*words: object, **options: Any) -> str:
    """What a command prints that is expected to work."""
    done = scratchlab(*words, **options)
    assert (done.returncode, done.stderr) == (0, "")
    return str(done.stdout)


def complains(status: int, pattern: str, *words: object, **options: Any) -> None:
    """A command that must fail with this status, and one message that says this, as a person would like to read it."""
    done = scratchlab(*words, **options)

    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert re.search(pattern, done.stderr), done.stderr
    assert done.stderr.startswith("scratchlab: ") and done.stderr.count("scratchlab: ") == 1
    assert "Traceback" not in done.stderr
    # What was asked and found; and, if there is anything to do, what to do next.
    assert [line[:8] for line in done.stderr.splitlines()[1:]] in ([], ["  hint: "])


@contextmanager
def running(*words: object, says: str = "", **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on while the test looks; if it `says` something, only after that."""
    settings: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True, "env": ENVIRONMENT}
    process = subprocess.Popen([*SCRATCHLAB, *map(str, words)], **{**settings, **options})
    try:
        if says:
            assert process.stdout is not None
            assert process.stdout.readline() == f"{says}\n"
        yield process
    finally:
        process.kill() if process.poll() is None and not _ended(process) else None
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


def _ended(process: subprocess.Popen[str]) -> bool:
    """Whether it ends when asked to; a container takes everything back then."""
    process.terminate()
    return eventually(lambda: process.poll() is not None)


def init_of(name: str) -> int:
    """Process 1 of a container, as the host numbers it, by what `scratchlab ps` says once it is complete."""
    eventually(lambda: name in [line.split()[0] for line in said("ps").splitlines()])
    return int(next(line.split()[1] for line in said("ps").splitlines() if line.split()[0] == name))


def group_of(pid: int, controller: str) -> Path:
    """The control group of a process in the tree of a controller: version 1's, or else version 2's."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    for _, controllers, path in lines:
        if controller in controllers.split(","):
            return Path(f"/sys/fs/cgroup/{controller}{path}")
    unified = "/sys/fs/cgroup" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "/sys/fs/cgroup/unified"
    return Path(unified + next(path for _, controllers, path in lines if not controllers))
