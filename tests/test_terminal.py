"""A person at a terminal: `scratchlab run` in a real pseudo-terminal, and in a shell with job control."""

import os
import signal
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pexpect
import pytest

from scratchlab.linux.proc import parse_stat
from tests.command_line import ENVIRONMENT, SCRATCHLAB, init_of, running, said
from tests.conftest import eventually, needs_root

pytestmark = needs_root

PROMPT = "inside> "
SHELL = ("env", f"PS1={PROMPT}", "TERM=dumb", "/bin/bash", "--norc", "-i")


class Terminal:
    """A program in a pseudo-terminal of 30 rows and 100 columns, and the person who types."""

    def __init__(self, *words: object) -> None:
        program, *arguments = map(str, words)
        self.child = pexpect.spawn(program, arguments, encoding="utf-8", timeout=30, dimensions=(30, 100), env=ENVIRONMENT)

    def sees(self, text: str) -> str:
        """Wait for a text; gives what came before it."""
        self.child.expect_exact(text)
        return str(self.child.before)

    def types(self, line: str, prompt: str = PROMPT) -> str:
        """Type a line; gives what was shown until the next prompt."""
        self.child.sendline(line)
        self.sees(f"{line}\r\n")
        return self.sees(prompt).replace("\r\n", "\n")

    def presses(self, key: str) -> None:
        """Press Ctrl and a key."""
        self.child.sendcontrol(key)

    def ends(self) -> int:
        """Wait for the end; gives the exit status."""
        self.child.expect(pexpect.EOF)
        self.child.wait()
        return int(self.child.exitstatus)


@contextmanager
def terminal(*words: object) -> Iterator[Terminal]:
    made = Terminal(*words)
    try:
        yield made
    finally:
        # As when a person closes the window: SIGHUP. What has ended already does not mind.
        made.child.close(force=False) or eventually(lambda: not made.child.isalive())
        made.child.close(force=True)


@pytest.fixture
def bash(rootfs: Path) -> Iterator[Terminal]:
    """An interactive shell in a container, at its first prompt."""
    with terminal(*SCRATCHLAB, "run", "--cpus", "1", "--name", "bash", rootfs, *SHELL) as made:
        made.sees(PROMPT)
        yield made


def commands_in(name: str) -> dict[str, str]:
    """The processes of a container, by command, with their states."""
    init = init_of(name)
    children = Path(f"/proc/{init}/task/{init}/children").read_text().split()
    grandchildren = [pid for child in children for pid in Path(f"/proc/{child}/task/{child}/children").read_text().split()]
    stats = [parse_stat(Path(f"/proc/{pid}/stat").read_text()) for pid in (*children, *grandchildren)]
    return {stat.comm: stat.state for stat in stats}


def test_a_shell_has_a_terminal_of_the_containers_own(bash: Terminal) -> None:
    assert bash.types("tty") == "/dev/pts/0\n"
    assert bash.types("ls /dev/pts") == "0  ptmx\n"
    assert bash.types("test -t 0 && test -t 1 && test -t 2; echo $?") == "0\n"


def test_the_window_size_is_passed_on_and_so_is_its_change(bash: Terminal) -> None:
    assert bash.types("stty size") == "30 100\n"
    bash.types("trap 'echo resized' WINCH")

    bash.child.setwinsize(41, 121)
    bash.child.sendline()

    bash.sees("resized")
    bash.sees(PROMPT)
    assert eventually(lambda: bash.types("stty size"), "41 121\n") == "41 121\n"


def test_ctrl_c_ends_the_command_and_not_the_shell(bash: Terminal) -> None:
    bash.child.sendline("sleep 1000")
    eventually(lambda: commands_in("bash").get("sleep"), "S")

    bash.presses("c")

    bash.sees(PROMPT)
    assert bash.types("echo status $?") == "status 130\n"


def test_ctrl_z_and_fg_work_in_the_shell(bash: Terminal) -> None:
    bash.child.sendline("sleep 1000")
    eventually(lambda: commands_in("bash").get("sleep"), "S")
    bash.presses("z")
    bash.sees(PROMPT)

    assert commands_in("bash")["sleep"] == "T"
    assert "Stopped" in bash.types("jobs")

    bash.child.sendline("fg")
    assert eventually(lambda: commands_in("bash")["sleep"], "S") == "S"
    bash.presses("c")
    bash.sees(PROMPT)


def test_the_shells_exit_status_is_ours_and_ctrl_d_ends_it(bash: Terminal) -> None:
    bash.child.sendline("(exit 7)")
    bash.sees(PROMPT)

    bash.presses("d")

    assert bash.ends() == 7


def test_a_paste_waits_until_the_command_reads_and_holds_up_nothing_meanwhile(rootfs: Path) -> None:
    # While it writes it does not read: whoever waits for it to read before he shows what it writes waits for ever.
    script = "stty raw -echo; echo ready; seq 100000; head -c 20000 >/dev/null; exit 5"
    with terminal(*SCRATCHLAB, "run", "--cpus", "1", rootfs, "bash", "-c", script) as shown:
        shown.sees("ready")
        paste = threading.Thread(target=lambda: shown.child.send("x" * 20_000))
        paste.start()

        shown.sees("100000\n")
        assert shown.ends() == 5
        paste.join()


def test_the_container_ends_with_its_command_though_what_that_left_behind_writes_on_and_on(rootfs: Path) -> None:
    with terminal(*SCRATCHLAB, "run", "--cpus", "1", rootfs, "bash", "-c", "seq 1000000000 & sleep 0.2; exit 5") as flood:
        with suppress(OSError):  # EIO, at the end
            while os.read(flood.child.child_fd, 4096):
                time.sleep(0.001)  # a person's terminal is slower than a program

        assert flood.ends() == 5


def test_while_it_is_suspended_the_terminal_is_as_it_was(rootfs: Path) -> None:
    with terminal(*SCRATCHLAB, "run", "--name", "asleep", rootfs, "sleep", "1000") as ours:
        before = termios.tcgetattr(ours.child.child_fd)
        (sleep,) = eventually_children(init_of("asleep"))
        assert eventually(lambda: termios.tcgetattr(ours.child.child_fd) != before)

        ours.presses("z")
        assert eventually(lambda: state(ours.child.pid), "T") == "T"
        assert termios.tcgetattr(ours.child.child_fd) == before
        assert state(sleep) == "T"

        os.kill(ours.child.pid, signal.SIGCONT)
        assert eventually(lambda: termios.tcgetattr(ours.child.child_fd) != before)
        ours.presses("c")
        ours.child.expect(pexpect.EOF)
        assert termios.tcgetattr(ours.child.child_fd) == before


def test_exec_has_a_terminal_too(rootfs: Path) -> None:
    with running("run", "--cpus", "1", "--name", "entered", rootfs, "bash", "-c", "echo ready; sleep 1000", says="ready"):
        init_of("entered")
        with terminal(*SCRATCHLAB, "exec", "entered", *SHELL) as shell:
            shell.sees(PROMPT)

            assert shell.types("tty") == "/dev/pts/0\n"
            shell.child.sendline("exit 6")
            assert shell.ends() == 6


def test_a_closed_window_ends_the_container(bash: Terminal) -> None:
    assert "bash" in said("ps")

    bash.child.close(force=False)  # SIGHUP

    assert eventually(lambda: "bash" not in said("ps"))


# -- under a shell of the host ----------------------------------------------------------------------------------------


@pytest.fixture
def host() -> Iterator[Terminal]:
    """An interactive shell on the host, with job control."""
    with terminal("env", "PS1=host> ", "TERM=dumb", "bash", "--norc", "--noprofile", "-i") as made:
        made.sees("host> ")
        yield made


def state(pid: int) -> str:
    return parse_stat(Path(f"/proc/{pid}/stat").read_text()).state


@pytest.mark.parametrize("files", ["", " </dev/null", " | cat"], ids=["terminal", "input from a file", "output to a pipe"])
def test_ctrl_z_suspends_the_command_line_and_fg_continues_it(host: Terminal, rootfs: Path, files: str) -> None:
    settings = host.types("stty -g", "host> ")
    host.child.sendline(f"{sys.executable} -m scratchlab.cli run --name job {rootfs} sleep 1000{files}")
    (sleep,) = eventually_children(init_of("job"))
    assert eventually(lambda: state(sleep), "S") == "S"

    host.presses("z")
    host.sees("Stopped")
    host.sees("host> ")

    assert eventually(lambda: state(sleep), "T") == "T"
    assert host.types("stty -g", "host> ") == settings

    host.child.sendline("fg")
    host.sees("sleep 1000")
    assert eventually(lambda: state(sleep), "S") == "S"

    host.presses("c")
    host.sees("host> ")
    if not files.startswith(" |"):
        assert host.types("echo status $?", "host> ") == f"status {128 + signal.SIGINT}\n"
    assert host.types("stty -g", "host> ") == settings


def eventually_children(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    eventually(lambda: bool(children.read_text()))
    return [int(word) for word in children.read_text().split()]
