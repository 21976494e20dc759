"""The host's side works where a system lacks what only Linux has: it imports nothing of that."""

import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

ROOT = Path(__file__).resolve().parents[2]

# A Python as on Windows, as far as imports go: these modules are not there, nor are these functions.
_BLOCKED = """
import os, sys
for name in ("fcntl", "termios", "pty", "tty", "resource", "pwd", "grp", "syslog", "readline"):
    sys.modules[name] = None
for name in ("fork", "forkpty", "register_at_fork", "pidfd_open", "waitid", "setsid", "geteuid", "getuid", "openpty"):
    if hasattr(os, name):
        delattr(os, name)
"""


def without_linux(program: str, *words: str, **options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", f"{_BLOCKED}\n{program}", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


def hosts_side() -> list[str]:
    """The modules that run outside of the guest, and those that bring a learner's copies of the lessons."""
    paths = [path for folder in ("vm", "lab") for path in (ROOT / "scratchlab" / folder).glob("*.py")]
    names = [f"scratchlab.{path.parent.name}.{path.stem}" for path in paths if path.name != "__init__.py"]
    return ["scratchlab.vm.guest.frames", "scratchlab.lessons.copies", *sorted(names)]


@pytest.mark.parametrize("module", ["scratchlab", "scratchlab.cli", "scratchlab.errors", *hosts_side()])
def test_a_module_of_the_hosts_side_needs_nothing_that_only_linux_has(module: str) -> None:
    done = without_linux(f"import {module}")

    assert (done.returncode, done.stderr) == (0, "")


def test_the_help_of_vm_is_there_on_every_system() -> None:
    done = without_linux("from scratchlab.cli import main; main(sys.argv[1:])", "vm", "--help")

    assert done.returncode == 0, done.stderr
    assert "shell" in done.stdout and "import" in done.stdout


def test_a_container_where_there_are_none_is_refused_in_words() -> None:
    done = without_linux("from scratchlab.cli import main; sys.exit(main(sys.argv[1:]))", "ps")

    assert done.returncode == 125
    assert done.stderr.startswith("scratchlab: containers are a thing of Linux") and "scratchlab vm" in done.stderr


def test_a_command_runs_on_a_terminal_of_a_kind_that_cannot_be_passed_on(built: None) -> None:
    program = f"{_BLOCKED}\nfrom scratchlab.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["-c", program, "vm", "run", "--", "sh", "-c", "test -t 1 || echo here"]
    child = pexpect.spawn(sys.executable, words, cwd=str(ROOT), timeout=60, encoding="utf-8")
    child.expect("here")
    child.expect(pexpect.EOF)
    child.close()

    assert child.exitstatus == 0


def test_a_machine_runs_where_no_file_can_be_inherited(built: None) -> None:
    program = """
from scratchlab.vm import Machine
with Machine.start(say=print) as machine:
    print(machine.run(["hostname"]).out)
"""
    done = without_linux(program, env={**os.environ, "SCRATCHLAB_VM_BY_NAME": "1"})

    # This QEMU may be too old to restore a machine from a file that it is told by name; then the machine boots, and says so.
    assert done.stdout.splitlines()[-1:] == ["lab"], done.stderr
