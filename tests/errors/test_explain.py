"""`explain`: of our own errors, and of any OSError that a learner caught."""

import importlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scratchlab import explain, linux
from scratchlab.errors import KernelError, StageError, from_wire, to_wire
from scratchlab.errors.explanation import Explanation
from scratchlab.errors.python_calls import CALLS
from tests.conftest import in_child, needs_root
from tests.errors.provoked import nobody

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "/nowhere"


def explained(act: Callable[[], object]) -> Explanation:
    with pytest.raises(OSError) as caught:
        act()
    return explain(caught.value)


def one_line_of_two_calls() -> None:
    os.getpid(), os.mkdir("/etc", 0o700), os.getppid()


def by_a_call() -> None:
    with socket.socket() as made:
        made.bind(("203.0.113.1", int("80")))


def by_variables() -> None:
    host, port = "203.0.113.1", 80
    with socket.socket() as made:
        made.bind((host, port))


CASES: dict[str, tuple[Callable[[], object], str, str, str]] = {
    "os.mkdir": (lambda: os.mkdir(f"{NOWHERE}/x"), 'mkdir(path="/nowhere/x")', "/nowhere does not exist", "namei -l /nowhere/x"),
    "one of several": (one_line_of_two_calls, 'mkdir(path="/etc", mode=0o700)', "exists already, as a directory", "ls -ld /etc"),
    "open": (
        lambda: Path("/etc/hostname/x").touch(),
        'open(pathname="/etc/hostname/x", flags=0x',
        "is a file",
        "namei -l /etc/host",
    ),
    "pathlib": (
        lambda: pathlib.Path(NOWHERE).read_text(),
        'open(pathname="/nowhere")',
        "/nowhere does not exist in /",
        "namei -l",
    ),
    "subprocess": (lambda: subprocess.run(["nonsense"]), 'execve(pathname="nonsense")', "no directory of PATH", "type nonsense"),
    "subprocess in no directory": (
        lambda: subprocess.run(["true"], cwd=NOWHERE),
        'chdir(path="/nowhere")',
        "does not exist in",
        "namei",
    ),
    "os.kill": (
        lambda: os.kill(4_000_000, signal.SIGTERM),
        "kill(pid=4000000, sig=SIGTERM)",
        "no process 4000000",
        "ls -d /proc/4",
    ),
    "bind by variables": (by_variables, "bind(addr=('203.0.113.1', 80))", "has the address 203.0.113.1", "ip -brief"),
    "bind by a call": (by_a_call, "bind(…)", "not found", ""),
    "os.rename": (
        lambda: os.rename(NOWHERE, "/tmp/x"),
        'rename(oldpath="/nowhere", newpath="/tmp/x")',
        "/nowhere does not",
        "namei",
    ),
    "unknown call": (
        lambda: os.getxattr("/etc/hostname", "user.no"),
        "os.getxattr(…), which makes system calls",
        "not found",
        "",
    ),
    "linux.unshare": (lambda: linux.unshare(linux.Clone(1)), "unshare(flags=0x1)", "the kernel refused these flags", ""),
}


@pytest.mark.parametrize("name", CASES)
def test_an_error_is_explained_from_where_it_was_raised(name: str) -> None:
    act, asked, cause, check = CASES[name]
    found = explained(act)

    assert asked in found.asked
    assert cause in found.cause, found
    assert found.check.startswith(check)
    assert found.read.startswith("man ")


def test_a_port_in_use_is_explained_by_who_has_it_and_later_by_its_being_free() -> None:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(OSError) as caught:
            second.bind(("127.0.0.1", port))
        assert f"port {port} is taken by {os.getpid()} (" in explain(caught.value).cause

    assert explain(caught.value).cause == f"port {port} was taken, and is free by now"


def test_an_explanation_reads_well() -> None:
    assert repr(explained(lambda: os.mkdir(f"{NOWHERE}/x"))) == "\n".join(
        [
            'asked      mkdir(path="/nowhere/x")',
            "found      No such file or directory (ENOENT)",
            "cause      /nowhere does not exist, so nothing can be below it: mkdir -p /nowhere",
            "check      namei -l /nowhere/x",
            "read       man 7 path_resolution",
        ]
    )


@needs_root
def test_a_learners_sethostname_is_explained_by_the_missing_capability() -> None:
    def act() -> tuple[str, str]:
        nobody()
        try:
            socket.sethostname("x")
        except OSError as error:
            return explain(error)[::2][:2]  # type: ignore[return-value]
        return "", ""

    asked, cause = in_child(act)
    assert asked == 'sethostname(name="x")'
    assert "CAP_SYS_ADMIN is missing: this process has no capabilities" in cause


def test_an_error_of_ours_is_explained_as_it_was_found_also_after_a_journey() -> None:
    error = from_wire(to_wire(KernelError("mkdir", {"path": '"/etc"'}, 17)))
    found = explain(error)

    assert (found.asked, found.check) == ('mkdir(path="/etc")', "ls -ld /etc")
    assert found.cause == "/etc exists already, as a directory"


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    assert "not found" in explain(OSError(1, "Operation not permitted")).cause
    assert explain(OSError("plain")).cause == "raised by a program, not by the kernel"
    assert explain(ZeroDivisionError("x")).found == "no system call failed here"
    assert explain(StageError("no", "do this")).cause == "do this"


def test_what_is_no_error_is_refused() -> None:
    with pytest.raises(TypeError, match="explain\\(\\) takes an error, not 7"):
        explain(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no error was shown yet"):
        explain()


def test_in_a_repl_the_last_error_is_explained() -> None:
    typed = "import os\nfrom scratchlab import explain\nos.mkdir('/etc')\nexplain()\n"
    shown = subprocess.run([sys.executable, "-i"], input=typed, cwd=ROOT, capture_output=True, text=True, check=False).stdout

    assert 'asked      mkdir(path="/etc")' in shown
    assert "cause      /etc exists already, as a directory" in shown


def test_without_its_source_a_call_is_known_by_its_name() -> None:
    code = compile("import os\nos.kill(4_000_000, 9)", "<nowhere>", "exec")
    found = explained(lambda: exec(code, {}))

    assert found.asked == "kill(…)"


def test_the_table_names_functions_that_python_has() -> None:
    newer = {"os.unshare", "os.setns"} if sys.version_info < (3, 12) else set()
    parts = [name.rpartition(".") for name in CALLS if name not in newer]
    homes = {module: importlib.import_module(module) for module, _, _ in parts}

    assert [name for module, _, name in parts if not hasattr(homes[module], name) and not hasattr(socket.socket, name)] == []
