"""The container as a user has it: every example of the documentation, seen from inside and from the host."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scratchlab.container import Container
from scratchlab.stages.stage import namespaces_of
from tests.command_line import complains, group_of, init_of, running, said, scratchlab
from tests.conftest import eventually, needs_root

pytestmark = needs_root

FOREVER = ("bash", "-c", "echo ready; sleep 1000")


# -- the first examples -----------------------------------------------------------------------------------------------


def test_a_command_says_hello_from_a_container(rootfs: Path) -> None:
    assert said("run", rootfs, "echo", "Hello from container!") == "Hello from container!\n"


def test_a_command_sees_the_root_filesystem_and_nothing_above_it(rootfs: Path) -> None:
    listing = said("run", rootfs, "/bin/ls", "-la", "/").splitlines()
    names = {line.split()[8] for line in listing[1:]}

    assert names == {".", ".."} | set(os.listdir(rootfs)) | {"proc", "sys", "dev"}
    assert said("run", rootfs, "ls", "-id", "/", "/..").split()[0::2] == [str(rootfs.stat().st_ino)] * 2


def test_busybox_is_a_container_too(busybox_rootfs: Path) -> None:
    assert said("run", busybox_rootfs, "sh", "-c", "echo $$; hostname") == "2\ncontainer\n"


# -- from inside ------------------------------------------------------------------------------------------------------


def test_names_in_the_root_filesystem_need_not_be_utf8(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_bytes(b"root:x:0:0:Ren\xe9:/home/ren\xe9:/bin/sh\n")

    assert Container(str(tmp_path), ("true",)).environment()["HOME"] == os.fsdecode(b"/home/ren\xe9")


def test_a_container_has_its_own_hostname(rootfs: Path) -> None:
    host = os.uname().nodename

    assert said("run", rootfs, "hostname") == "container\n"
    assert said("run", "--hostname", "web", rootfs, "bash", "-c", "hostname; echo $HOSTNAME") == "web\nweb\n"
    assert os.uname().nodename == host


def test_process_1_is_our_init_and_only_its_own_processes_are_there(rootfs: Path) -> None:
    assert said("run", rootfs, "ps", "-eo", "pid,ppid,comm", "--no-headers").split() == ["1", "0", "scratchlab", "2", "1", "ps"]


def test_init_shows_neither_the_hosts_command_line_nor_its_environment(rootfs: Path) -> None:
    shown = said(
        "run", rootfs, "bash", "-c", "tr() { cat -v; }; tr </proc/1/cmdline; tr </proc/1/environ",
        env={**os.environ, "SECRET": "of the host", "PYTHONPATH": os.pathsep.join(sys.path)}, cwd=Path(__file__).parent.parent,
    )  # fmt: skip

    assert shown.replace("^@", "") == "scratchlab agent"


def test_a_learners_program_in_an_agent_still_gets_an_environment(box: object) -> None:
    def path() -> str:
        import subprocess

        return subprocess.run(["env"], capture_output=True, text=True, check=True).stdout

    assert f"PATH={os.environ['PATH']}\n" in box.apply(path).value  # type: ignore[attr-defined]


def test_every_namespace_is_its_own_but_time_and_user(rootfs: Path) -> None:
    with running("run", "--name", "apart", rootfs, *FOREVER, says="ready"):
        theirs, ours = namespaces_of(init_of("apart")), namespaces_of("self")

    assert {kind for kind in ours if theirs[kind] == ours[kind]} == {"time", "user"}


def test_mounts_are_its_own_and_the_dangerous_ones_read_only(rootfs: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    with running("run", "--name", "mounts", rootfs, *FOREVER, says="ready"):
        theirs = Path(f"/proc/{init_of('mounts')}/mountinfo").read_text()
        assert Path("/proc/self/mountinfo").read_text() == before
    options = {line.split()[4]: line.split()[5].split(",") for line in theirs.splitlines()}

    assert {"/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm"} <= set(options)
    assert "ro" in options["/sys"] and "ro" in options["/proc/sys"] and "rw" in options["/"]


def test_its_links_are_loopback_and_one_cable(rootfs: Path) -> None:
    lines = said("run", rootfs, "ip", "-brief", "address").splitlines()

    assert [line.split()[0].partition("@")[0] for line in lines] == ["lo", "eth0"]
    assert "127.0.0.1/8" in lines[0] and "172.22." in lines[1]


def test_it_has_few_capabilities_and_gains_none(rootfs: Path) -> None:
    status = dict(line.split(":\t") for line in said("run", rootfs, "cat", "/proc/self/status").splitlines() if ":\t" in line)

    # AUDIT_WRITE, KILL, NET_BIND_SERVICE: what `runc spec` gives.
    assert status["CapEff"] == status["CapPrm"] == status["CapBnd"] == "0000000020000420"
    assert status["CapInh"] == status["CapAmb"] == "0000000000000000"
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_a_command_gets_no_open_files_but_the_three(rootfs: Path) -> None:
    # 3 is the directory that ls itself reads.
    assert said("run", rootfs, "ls", "/proc/self/fd").split() == ["0", "1", "2", "3"]


# -- from the host ----------------------------------------------------------------------------------------------------


def first_of(group: Path, *names: str) -> str:
    return next((group / name).read_text().strip() for name in names if (group / name).exists())


def test_the_limits_stand_in_the_kernels_files(rootfs: Path) -> None:
    with running("run", "--name", "limits", rootfs, *FOREVER, says="ready"):
        pid = init_of("limits")
        memory, pids, cpu = (group_of(pid, name) for name in ("memory", "pids", "cpu"))

        assert first_of(memory, "memory.max", "memory.limit_in_bytes") == str(2 << 30)
        assert first_of(pids, "pids.max") == "512"
        assert first_of(cpu, "cpu.max", "cpu.cfs_quota_us") in ("20000 100000", "20000")
        assert memory.name == pids.name == cpu.name == "limits"
    assert not memory.exists()


def cpu_counters(pid: int) -> tuple[float, int]:
    """Seconds that the group has used, and the periods of 0.1 s in which it wanted to run."""
    group, account = group_of(pid, "cpu"), group_of(pid, "cpuacct")
    counters = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    nanoseconds = account / "cpuacct.usage"
    used = int(nanoseconds.read_text()) / 1e9 if nanoseconds.exists() else int(counters["usage_usec"]) / 1e6
    return used, int(counters["nr_periods"])


def test_a_busy_loop_gets_a_fifth_of_one_cpu(rootfs: Path) -> None:
    with running("run", "--name", "busy", rootfs, "bash", "-c", "echo ready; while :; do :; done", says="ready"):
        pid = init_of("busy")
        used, begin = cpu_counters(pid)
        assert eventually(lambda: cpu_counters(pid)[1] >= begin + 50)  # 5 s by the kernel's own clock of periods
        used_then, end = cpu_counters(pid)

    assert abs((used_then - used) / ((end - begin) * 0.1) - 0.2) <= 0.03


def test_what_takes_more_memory_than_allowed_is_killed_and_the_reason_is_told(rootfs: Path) -> None:
    greedy = ("python3", "-c", "x = bytearray(3 << 30)\nfor i in range(0, 3 << 30, 4096): x[i] = 1")

    done = scratchlab("run", "--cpus", "1", rootfs, *greedy)
    assert (done.returncode, done.stderr) == (137, "scratchlab: killed: out of memory, limit 2 GB\n")

    # With a shell in between that lives on to say 137.
    words = ("bash", "-c", f"{greedy[0]} -c '{greedy[2]}'; exit $?")
    done = scratchlab("run", "--cpus", "1", "--memory", "64M", rootfs, *words)
    assert done.returncode == 137
    assert done.stderr.endswith("scratchlab: killed: out of memory, limit 64 MB\n")


def test_a_kill_that_is_not_for_memory_is_not_said_to_be(rootfs: Path) -> None:
    done = scratchlab("run", rootfs, "bash", "-c", "kill -9 $$")

    assert (done.returncode, done.stderr) == (137, "")


def test_a_fork_bomb_fizzles_out(rootfs: Path) -> None:
    bomb = "import os, sys\nwhile True:\n  try: os.fork()\n  except OSError as error: sys.exit(error.errno)"

    assert scratchlab("run", "--pids", 20, rootfs, "python3", "-c", bomb).returncode == errno.EAGAIN


# -- from Python ------------------------------------------------------------------------------------------------------


def test_a_container_runs_from_python_and_says_how_it_ended(rootfs: Path) -> None:
    done = Container(str(rootfs), ("bash", "-c", "cat; echo $A $HOME $PWD; exit 3"), env={"A": "b"}).run(input="typed\n")

    assert (done.lines, done.status) == (["typed", "b /root /"], 3)
    assert Container(str(rootfs), ("python3", "-c", "b'x' * (1 << 30)"), memory="64M").run().note.startswith("killed: out of mem")


def test_a_plan_touches_nothing_and_is_the_same_each_time() -> None:
    plan = Container("/nowhere", ("sh",)).plan()

    assert plan == Container("/nowhere", ("sh",)).plan()
    assert [item.name for item in plan if item.name in ("unshare_mount", "private_mounts", "pivot")] == [
        "unshare_mount", "private_mounts", "pivot",
    ]  # fmt: skip


def test_set_up_that_dies_for_want_of_memory_says_so(rootfs: Path) -> None:
    complains(125, "could not be built: killed: out of memory, limit 1 MB", "run", "--memory", "1M", rootfs, "true")


# -- more in a running container --------------------------------------------------------------------------------------


@pytest.fixture(params=[(), ("--chroot",)], ids=["pivot_root", "chroot"])
def web(request: pytest.FixtureRequest, rootfs: Path) -> object:
    with running("run", "--name", "web", *request.param, "--env", "A=b", rootfs, *FOREVER, says="ready") as process:
        init_of("web")
        yield process


def members(init: int) -> dict[str, int]:
    """The processes that share a limit with a container's process 1, by command line."""
    pids = (group_of(init, "memory") / "cgroup.procs").read_text().split()
    return {Path(f"/proc/{pid}/cmdline").read_text(): int(pid) for pid in pids}


def test_exec_joins_the_namespaces_the_root_and_the_limits(web: object) -> None:
    init = init_of("web")

    with running("exec", "web", "bash", "-c", "hostname; echo $A; sleep 999", says="container") as entered:
        assert entered.stdout is not None and entered.stdout.readline() == "b\n"
        assert eventually(lambda: "sleep\000999\0" in members(init))
        pid = members(init)["sleep\000999\0"]

        assert namespaces_of(pid) == namespaces_of(init)
        assert Path(f"/proc/{pid}/cgroup").read_text() == Path(f"/proc/{init}/cgroup").read_text()
        assert os.path.samestat(os.stat(f"/proc/{pid}/root"), os.stat(f"/proc/{init}/root"))
        assert not os.path.samestat(os.stat(f"/proc/{pid}/root"), os.stat("/"))


def test_exec_gives_no_more_than_the_container_has(web: object) -> None:
    status = said("exec", "web", "grep", "-e", "^Cap", "-e", "NoNewPrivs", "-e", "Seccomp:", "/proc/self/status").split()

    assert status == [
        "CapInh:", "0000000000000000", "CapPrm:", "0000000020000420", "CapEff:", "0000000020000420",
        "CapBnd:", "0000000020000420", "CapAmb:", "0000000000000000", "NoNewPrivs:", "1", "Seccomp:", "2",
    ]  # fmt: skip
    complains(127, "'nothing' is not here: no directory of PATH", "exec", "web", "nothing")


def test_exec_cannot_see_the_host(web: object) -> None:
    assert said("exec", "web", "ps", "-eo", "comm", "--no-headers").split() == ["scratchlab", "sleep", "scratchlab", "ps"]
    assert scratchlab("exec", "web", "ls", str(Path(__file__))).returncode == 2


def test_exec_passes_input_output_status_and_options(web: object) -> None:
    assert said("exec", "web", "cat", input="typed") == "typed"
    assert said("exec", "--workdir", "/etc", "-e", "B=c", "web", "--", "bash", "-c", "echo $PWD $A$B") == "/etc bc\n"
    assert scratchlab("exec", "web", "bash", "-c", "exit 9").returncode == 9


def test_ps_lists_what_runs(rootfs: Path) -> None:
    with running("run", "--name", "listed", "-p", "127.0.0.1:15791:53/udp", "-p", "15792:80", rootfs, *FOREVER, says="ready"):
        pid = init_of("listed")
        row = next(line for line in said("ps").splitlines() if line.startswith("listed"))

    assert row.split(maxsplit=2)[1:] == [str(pid), "127.0.0.1:15791:53/udp 15792:80  bash -c 'echo ready; sleep 1000'"]
    assert "listed" not in said("ps")


def test_stop_asks_and_the_command_ends_at_once(rootfs: Path) -> None:
    with running("run", "--name", "asked", rootfs, "bash", "-c", "trap 'echo bye; exit 5' TERM; echo ready; sleep 1000 & wait",
                 says="ready") as process:  # fmt: skip
        init_of("asked")
        assert said("stop", "asked") == ""

        assert process.wait(10) == 5
        assert process.stdout is not None and process.stdout.read() == "bye\n"


def test_stop_kills_what_does_not_listen(rootfs: Path) -> None:
    with running("run", "--name", "deaf", rootfs, "bash", "-c", "trap '' TERM; echo ready; while :; do sleep 9; done",
                 says="ready", stderr=subprocess.PIPE) as process:  # fmt: skip
        init_of("deaf")
        said("stop", "--time", "0.1", "deaf")

        assert process.wait(10) == 128 + signal.SIGKILL
        assert process.stderr is not None and process.stderr.read() == ""
        process.stderr.close()
