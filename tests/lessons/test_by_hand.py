"""The program that lesson 16 writes by hand, and `scratchlab run`: judged by the same tests."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scratchlab.lessons.notebook import source, tags
from scratchlab.stages.stage import namespaces_of
from tests.command_line import ENVIRONMENT, SCRATCHLAB, group_of
from tests.conftest import eventually, needs_root
from tests.lessons.breaking import NOTEBOOKS, cells
from tests.ports import fetch, free_port

pytestmark = needs_root

LESSON = next(path for path in NOTEBOOKS if path.name.startswith("16-"))


def program() -> str:
    """What the lesson's cells write to run.py."""
    written = [source(cell).partition("\n")[2] for cell in cells(LESSON, "code") if "program" in tags(cell)]
    return "".join(f"{text}\n" for text in written)


@pytest.fixture(params=["by hand", "scratchlab run"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The words that begin a container."""
    (tmp_path / "run.py").write_text(program())
    return [sys.executable, str(tmp_path / "run.py")] if request.param == "by hand" else [*SCRATCHLAB, "run"]


def run(runtime: list[str], *words: object, status: int = 0) -> str:
    """What a container prints that ends with this status."""
    argv = [*runtime, *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout


@contextmanager
def running(runtime: list[str], *words: object) -> Iterator[subprocess.Popen[str]]:
    """A container that has said "ready", and is asked to end afterwards."""
    argv = [*runtime, *map(str, words)]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def init_below(pid: int) -> int:
    """Process 1 of the container that a program has started, as the host numbers it."""
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{child}/status").read_text().splitlines())
        numbers = status["NSpid"].split()
        if len(numbers) > 1 and numbers[-1] == "1":
            return child
        if found := init_below(child):
            return found
    return 0


FOREVER = ("bash", "-c", "echo ready; sleep 1000 & wait")


def test_the_program_has_fewer_than_sixty_lines():
    assert sum(bool(line.strip()) for line in program().splitlines()) < 60


def test_it_has_a_hostname_of_its_own(runtime, rootfs):
    ours = os.uname().nodename

    assert run(runtime, rootfs, "hostname") == "container\n"
    assert run(runtime, "--hostname", "web", rootfs, "hostname") == "web\n"
    assert os.uname().nodename == ours


def test_its_processes_are_numbered_from_1_and_the_command_is_a_child_of_process_1(runtime, rootfs):
    assert run(runtime, rootfs, "ps", "-eo", "pid,ppid", "--no-headers").split() == ["1", "0", "2", "1"]


def test_every_namespace_is_its_own_but_time_and_user(runtime, rootfs):
    with running(runtime, rootfs, *FOREVER) as process:
        theirs, ours = namespaces_of(init_below(process.pid)), namespaces_of("self")

    assert {kind for kind in ours if theirs[kind] == ours[kind]} == {"time", "user"}


def test_its_mounts_are_its_own_and_the_dangerous_ones_read_only(runtime, rootfs):
    before = Path("/proc/self/mountinfo").read_text()
    with running(runtime, rootfs, *FOREVER) as process:
        theirs = Path(f"/proc/{init_below(process.pid)}/mountinfo").read_text()
        assert Path("/proc/self/mountinfo").read_text() == before
    options = {line.split()[4]: line.split()[5].split(",") for line in theirs.splitlines()}

    assert {"/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/etc/resolv.conf", "/proc/keys"} <= set(options)
    assert "ro" in options["/sys"] and "ro" in options["/proc/sys"] and "rw" in options["/"]


def first_of(group: Path, *names: str) -> str:
    return next((group / name).read_text().strip() for name in names if (group / name).exists())


def test_its_limits_stand_in_the_kernels_files(runtime, rootfs):
    with running(runtime, rootfs, *FOREVER) as process:
        init = init_below(process.pid)
        memory, pids, cpu = (group_of(init, name) for name in ("memory", "pids", "cpu"))

        assert first_of(memory, "memory.max", "memory.limit_in_bytes") == str(2 << 30)
        assert first_of(pids, "pids.max") == "512"
        assert first_of(cpu, "cpu.max", "cpu.cfs_quota_us") in ("20000 100000", "20000")
    assert eventually(memory.exists, False) is False


def test_what_takes_more_memory_than_allowed_is_killed(runtime, rootfs):
    greedy = "x = bytearray(1 << 28)\nfor i in range(0, 1 << 28, 4096): x[i] = 1"

    run(runtime, "--cpus", "1", "--memory", "64M", rootfs, "python3", "-c", greedy, status=137)


def test_its_links_are_loopback_and_one_cable(runtime, rootfs):
    lines = run(runtime, rootfs, "ip", "-brief", "address").splitlines()

    assert [line.split()[0].partition("@")[0] for line in lines] == ["lo", "eth0"]
    assert "127.0.0.1/8" in lines[0] and "172.22." in lines[1]


def test_a_published_port_leads_in_and_is_gone_with_it(runtime, rootfs):
    port = free_port()
    server = "import http.server as h; print('ready', flush=True); h.test(h.SimpleHTTPRequestHandler, port=80)"
    with running(runtime, "--cpus", "1", "--publish", f"{port}:80", rootfs, "python3", "-c", server):
        assert eventually(lambda: "bin/" in fetch(port))
    assert eventually(lambda: fetch(port), "") == ""


def test_it_has_few_powers_and_no_open_files_but_the_three(runtime, rootfs):
    lines = run(runtime, rootfs, "cat", "/proc/self/status").splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)

    assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {"0000000020000420"}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    # 3 is the directory that ls itself reads.
    assert run(runtime, rootfs, "ls", "/proc/self/fd").split() == ["0", "1", "2", "3"]


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 77", 77), ("kill -TERM $$", 143), ("kill -KILL $$", 137)])
def test_the_exit_status_is_the_commands(runtime, rootfs, script, status):
    run(runtime, rootfs, "bash", "-c", script, status=status)


# Not SIGINT: a terminal sends it to the command itself, which is in the foreground with its runtime.
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_handed_on(runtime, rootfs, number):
    trap = f"trap 'echo got {number.name}; exit 9' {number.name[3:]}; echo ready; while :; do sleep 0.1; done"
    with running(runtime, rootfs, "bash", "-c", trap) as process:
        process.send_signal(number)

        assert process.wait(30) == 9
        assert process.stdout is not None and process.stdout.read() == f"got {number.name}\n"


def test_a_command_that_never_thought_of_term_ends_by_it(runtime, rootfs):
    with running(runtime, rootfs, "bash", "-c", "echo ready; exec sleep 1000") as process:
        process.terminate()

        assert process.wait(30) == 128 + signal.SIGTERM


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_it_leaves_nothing_behind_however_it_ends(runtime, rootfs, how):
    with running(runtime, "--publish", f"{free_port()}:80", rootfs, *FOREVER) as process:
        init = init_below(process.pid)
        process.send_signal(how)
        process.wait(30)

        assert eventually(lambda: gone(init))
    # Links, rules, groups, journals: the fixture nothing_left_behind asks for them. `scratchlab run` is its own keeper: if it is
    # killed, the next start takes all back, or this.
    subprocess.run([*SCRATCHLAB, "clean"], check=True, capture_output=True)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.ESRCH
    return False
