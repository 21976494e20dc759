"""Stages called directly: a plain Python process that isolates itself, with the keeper as its host."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scratchlab import journal
from tests.conftest import needs_root
from tests.survival import difference, kill, left, on_a_machine_of_its_own

pytestmark = needs_root


def python(program: str, *options: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program as a script, or with -i as if somebody typed it."""
    words = [sys.executable, *options] if "-i" in options else [sys.executable, "-c", before + program]
    typed = program if "-i" in options else ""
    return subprocess.run(words, input=typed, capture_output=True, text=True, timeout=60, check=False)


IMPORTS = "import os\nfrom scratchlab.errors import ScratchlabError\nfrom scratchlab.stages import *\n"


def said(program: str, *options: str) -> str:
    """What a program prints that is expected to work, on a machine of its own, where it must leave nothing."""

    def act() -> tuple[int, str, str, object]:
        before = left()
        done = python(IMPORTS + program, *options)
        return done.returncode, done.stdout, done.stderr.replace(">>> ", ""), difference(before)

    status, out, err, found = on_a_machine_of_its_own(act)
    assert (status, err.strip(), found) == (0, "", {})
    return out


HOSTNAME = "unshare_uts()\nhostname('web')\nprint(os.uname().nodename)\n"


@pytest.mark.parametrize("options", [(), ("-i", "-q")])
def test_a_hostname_changes_here_and_nowhere_else(options: tuple[str, ...]) -> None:
    ours = os.uname().nodename

    assert said(HOSTNAME, *options) == "web\n"
    assert os.uname().nodename == ours


def test_a_stage_that_would_act_on_the_host_says_what_must_come_first() -> None:
    program = "try:\n    hostname('web')\nexcept ScratchlabError as error:\n    print(error)\n"

    assert "unshare_uts first" in said(program)


def test_limits_are_set_by_the_keeper_and_hold_for_what_is_started_later() -> None:
    program = """
memory("64M")
pids(50)
groups = dict(line.split(":")[1:] for line in open("/proc/self/cgroup").read().splitlines())
print(groups["memory"] == groups["pids"], groups["memory"].split("/")[1])
print(open("/sys/fs/cgroup/memory" + groups["memory"] + "/memory.limit_in_bytes").read())
"""
    if not os.path.exists("/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        pytest.skip("reads the files of version 1, which this machine does not have")

    assert said(program).split() == ["True", "scratchlab", str(64 << 20)]


NETWORK = """
unshare_net()
loopback()
wiring = veth()
name = nat()
port = publish("18080:80")
import socket
server = socket.create_server(("", 80))
print(socket.if_nameindex()[-1][1], port.host)
"""


def test_a_network_is_made_by_the_keeper() -> None:
    assert said(NETWORK) == "eth0 18080\n"


def test_unshare_pid_in_the_repl_goes_on_as_pid_1_with_the_same_keeper() -> None:
    typed = "unshare_pid()\nprint(os.getpid())\nunshare_uts()\nhostname('web')\nmemory('64M')\nprint(os.uname().nodename)\n"

    assert said(typed, "-i", "-q").split() == ["1", "web"]


def test_stages_work_after_pivot_when_the_standard_library_is_gone(busybox_rootfs: Path) -> None:
    program = f"""
unshare_uts()
unshare_pid()
unshare_mount()
private_mounts()
pivot({str(busybox_rootfs)!r})
hostname("inside")
memory("64M")
print(os.uname().nodename, os.path.exists("/bin/busybox"), os.path.exists("/work"))
"""

    assert said(program) == "inside True False\n"


def test_the_exit_status_is_the_programs_own_although_it_sits_in_a_group_that_is_taken_back() -> None:
    def act() -> tuple[int, object]:
        before = left()
        return python(IMPORTS + "memory('64M')\nunshare_pid()\nos.sys.exit(7)").returncode, difference(before)

    assert on_a_machine_of_its_own(act) == (7, {})


def test_limits_hold_for_the_program_that_takes_the_place_of_python() -> None:
    program = "pids(40)\nos.execv('/bin/sh', ['sh', '-c', 'sleep 0.5; cat /proc/self/cgroup'])"

    assert "/scratchlab/pid-" in said(program)


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(1,)).start()\n", "a process with 2 threads"),
        ("import types, sys\nsys.modules['ipykernel'] = types.ModuleType('ipykernel')\n", "a Jupyter kernel"),
    ],
)
def test_where_it_would_do_harm_it_is_refused(before: str, why: str) -> None:
    program = "try:\n    unshare_uts()\nexcept ScratchlabError as error:\n    print(error)\n"

    assert f"would isolate {why}" in said(before + program)


LIVES_ON = NETWORK + "memory('64M')\nprint(os.getpid(), flush=True)\nimport time\ntime.sleep(1000)\n"


@pytest.mark.parametrize("victim", ["the process", "the keeper and then the process"])
def test_whoever_is_killed_everything_is_taken_back(victim: str) -> None:
    def act() -> object:
        before = left()
        program = subprocess.Popen([sys.executable, "-c", IMPORTS + LIVES_ON], stdout=subprocess.PIPE, text=True)
        assert program.stdout
        program.stdout.readline(), program.stdout.readline()
        if victim != "the process":
            (keeper,) = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
            kill(int(keeper))
            assert journal.clean() == []  # the process lives, under its limits
            assert program.poll() is None
        program.kill()
        program.wait()
        if victim != "the process":
            journal.clean()
        return difference(before)

    assert on_a_machine_of_its_own(act) == {}


def test_after_the_death_of_its_keeper_a_process_says_so() -> None:
    program = """
from scratchlab.sandbox import client
unshare_uts()
keeper = client.keeper().process
keeper.kill()
keeper.wait()
try:
    hostname("web")
except ScratchlabError as error:
    print(error)
"""

    def act() -> tuple[str, list[str], object]:
        before = left()
        told = python(IMPORTS + program).stdout
        return told, [name[:4] for name in journal.clean()], difference(before)

    told, cleaned, found = on_a_machine_of_its_own(act)
    assert "the keeper of this process was killed" in told
    assert (cleaned, found) == (["pid-"], {})


def test_a_forked_child_is_another_process_with_a_keeper_of_its_own() -> None:
    program = """
unshare_uts()
hostname("parent")
if os.fork() == 0:
    unshare_ipc()
    pids(50)
else:
    print(os.waitstatus_to_exitcode(os.wait()[1]), os.uname().nodename)
"""

    assert said(program) == "0 parent\n"
