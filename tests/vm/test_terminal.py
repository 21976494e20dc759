"""`scratchlab vm shell` is a real terminal: colours, sizes, keys."""

import hashlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import pexpect
import pytest

from tests.command_line import ENVIRONMENT, ROOT, scratchlab

PROMPT = r"root@lab.*# "


@pytest.fixture
def shell(built: None) -> Iterator[Any]:
    environment = {**ENVIRONMENT, "TERM": "xterm-256color"}
    words = ["-m", "scratchlab.cli", "vm", "shell"]
    child = pexpect.spawn(
        sys.executable, words, env=environment, cwd=str(ROOT), dimensions=(31, 97), timeout=30, encoding="utf-8"
    )
    child.expect(PROMPT)
    yield child
    child.close(force=True)


def test_it_has_our_colours_and_our_size_and_follows_when_that_changes(shell: Any) -> None:
    shell.sendline("echo $TERM; stty size; tty")
    shell.expect("xterm-256color\r\n31 97\r\n/dev/pts/")
    shell.expect(PROMPT)

    shell.setwinsize(40, 120)
    shell.sendline("stty size")
    shell.expect("40 120")

    shell.sendline("ls --color=auto -d /etc")
    shell.expect(r"\x1b\[01;34m/etc")


def test_ctrl_c_is_for_the_command_in_it_and_ctrl_d_ends_it(shell: Any) -> None:
    # One program says so and sleeps: between two, bash itself would have the terminal for a moment, and take the Ctrl-C.
    shell.sendline("sh -c 'echo asleep; exec sleep 1000'")
    shell.expect("asleep\r\n")
    shell.sendintr()
    shell.expect(PROMPT)
    shell.sendline("echo status $?")
    shell.expect("status 130")

    shell.expect(PROMPT)
    shell.sendeof()
    shell.expect(pexpect.EOF)
    shell.wait()
    assert shell.exitstatus == 0  # as of the shell's last command


def test_a_job_can_be_stopped_and_taken_up_again(shell: Any) -> None:
    shell.sendline("cat")
    shell.sendline("it runs")
    shell.expect("it runs\r\nit runs\r\n")
    shell.sendcontrol("z")
    shell.expect("Stopped")
    shell.expect(PROMPT)
    shell.sendline("fg")
    shell.expect("cat\r\n")
    shell.sendline("echoed")
    shell.expect("echoed\r\nechoed\r\n")


def test_a_long_paste_arrives_whole(shell: Any) -> None:
    pasted = "0123456789" * 6000
    shell.sendline("stty -echo -icanon; echo ready; head -c 60000 | md5sum; stty sane")
    shell.expect("ready\r\n")
    shell.send(pasted)
    shell.expect("([0-9a-f]{32})  -")

    assert shell.match[1] == hashlib.md5(pasted.encode()).hexdigest()


def test_our_terminal_is_as_before_when_the_shell_has_ended(shell: Any) -> None:
    before = os.get_terminal_size(shell.child_fd)
    shell.sendline("exit 7")
    shell.expect(pexpect.EOF)
    shell.wait()

    assert (shell.exitstatus, os.get_terminal_size(shell.child_fd)) == (7, before)


def test_without_a_terminal_a_shell_is_refused() -> None:
    done = scratchlab("vm", "shell")

    assert done.returncode == 125
    assert "needs a terminal" in done.stderr and "vm run" in done.stderr
