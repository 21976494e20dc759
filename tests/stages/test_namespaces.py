"""Namespaces, from both sides: what changes inside, and that the host stays as it was."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scratchlab.errors import InputError, KernelError
from scratchlab.journal import Journal, start_time
from scratchlab.linux import NAMESPACES, recording
from scratchlab.stages import namespaces, stage
from scratchlab.stages.filesystem import private_mounts, proc
from scratchlab.stages.namespaces import continue_in_child, hostname, join, map_ids, unshare_pid, unshare_time, unshare_user, unshare_uts
from scratchlab.stages.stage import Target, namespaces_of
from tests.conftest import eventually, held, in_child, needs_root

pytestmark = needs_root

ALONE = ("uts", "ipc", "mount", "net", "cgroup")


def only_child(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def target(pid: int) -> Target:
    return Target(pid, Journal(Path("/nonexistent/test.journal")))


@pytest.mark.parametrize("kind", ALONE)
def test_each_stage_leaves_one_namespace_and_no_other(kind: str) -> None:
    host = namespaces_of("self")

    with held(getattr(namespaces, f"unshare_{kind}")) as pid:
        inside = namespaces_of(pid)

    assert [name for name in NAMESPACES if inside[name] != host[name]] == [{"mount": "mnt"}.get(kind, kind)]
    assert namespaces_of("self") == host


def test_a_hostname_changes_inside_and_nowhere_else() -> None:
    ours = os.uname().nodename

    def act() -> tuple[str, str]:
        unshare_uts()
        hostname("web", "example.org")
        return os.uname().nodename, Path("/proc/sys/kernel/domainname").read_text()

    assert in_child(act) == ("web", "example.org\n")
    assert os.uname().nodename == ours


@pytest.mark.parametrize("name", ["", "x" * 65, "ü" * 33, "nul\0inside"])
def test_a_hostname_that_the_kernel_would_not_take_is_refused_before_any_call(name: str) -> None:
    def act() -> None:
        unshare_uts()
        with recording() as calls:
            try:
                hostname(name)
            finally:
                assert not calls

    with pytest.raises(InputError):
        in_child(act)


def test_the_longest_hostname_works() -> None:
    def act() -> str:
        unshare_uts()
        hostname("x" * 64)
        return os.uname().nodename

    assert in_child(act) == "x" * 64


def test_a_new_network_has_one_link_and_a_new_control_group_view_begins_at_the_root() -> None:
    def act() -> tuple[list[str], set[str]]:
        namespaces.unshare_net()
        namespaces.unshare_cgroup()
        links = Path("/proc/net/dev").read_text().splitlines()[2:]
        groups = {line.split(":")[2] for line in Path("/proc/self/cgroup").read_text().splitlines()}
        return [link.split(":")[0].strip() for link in links], groups

    links, groups = in_child(act)
    assert (links[0], groups) == ("lo", {"/"})


# -- process 1 --------------------------------------------------------------------------------------------------------


def test_the_process_goes_on_as_number_1_and_the_host_knows_it_by_another_number() -> None:
    assert in_child(lambda: (unshare_pid(), os.getpid())[1]) == 1

    with held(unshare_pid) as waiter:
        status = Path(f"/proc/{only_child(waiter)}/status").read_text()

    assert next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid"))[1:] == ["1"]


def test_the_proc_of_a_new_pid_namespace_shows_only_its_own_processes() -> None:
    def act() -> list[str]:
        unshare_pid()
        namespaces.unshare_mount()
        private_mounts()
        proc()
        return [entry for entry in os.listdir("/proc") if entry.isdigit()]

    assert in_child(act) == ["1"]


@pytest.mark.parametrize(
    ("ending", "status"),
    [("os._exit(0)", 0), ("os._exit(7)", 7), ("raise SystemExit(3)", 3), ("1/0", 1)],
)
def test_the_waiter_exits_with_the_status_of_process_1(ending: str, status: int) -> None:
    assert waiter_runs(ending).returncode == status


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
def test_the_waiter_dies_of_the_signal_that_killed_its_child(number: signal.Signals) -> None:
    # Without the pid namespace: of process 1, the kernel keeps off every signal that it does not handle but SIGKILL.
    waiter = started(unshare_pid if number == signal.SIGKILL else continue_in_child)

    os.kill(only_child(waiter), number)
    _, status = os.waitpid(waiter, 0)

    assert os.WTERMSIG(status) == number


def test_what_was_printed_before_is_printed_once() -> None:
    assert waiter_runs("print('after')", before="print('before')").stdout == "before\nafter\n"


def test_killing_the_waiter_kills_process_1() -> None:
    waiter = started(unshare_pid)
    init = only_child(waiter)
    assert start_time(init)

    os.kill(waiter, signal.SIGKILL)
    os.waitpid(waiter, 0)

    assert eventually(lambda: start_time(init), 0) == 0


def test_process_1_never_lives_on_when_its_waiter_died_before_the_promise() -> None:
    # Killed a little later each time: before, between and after its fork and the child's promise to die with it.
    for pause in range(100):
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            stage.serve()
            unshare_pid()
            signal.pause()
        for _ in range(pause * 500):
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert eventually(lambda group=pid: processes_of_group(group), []) == []


def test_ctrl_c_reaches_process_1_and_not_the_waiter() -> None:
    done = "import signal; signal.signal(signal.SIGINT, lambda *_: os._exit(42)); print('ready', flush=True); signal.pause()"
    process = start_waiter(done)
    assert process.stdout is not None
    process.stdout.readline()

    os.killpg(process.pid, signal.SIGINT)

    assert process.wait(20) == 42


def test_the_waiter_holds_no_file_open_and_leaves_no_zombie() -> None:
    def act() -> None:
        os.open("/dev/null", os.O_RDONLY)
        if os.fork() == 0:  # a child from before, which ends later, while the waiter waits
            while not Path(f"/proc/{os.getppid()}/task/{os.getppid()}/children").read_text().split()[1:]:
                pass
            os._exit(0)
        unshare_pid()

    with held(act) as waiter:
        files = eventually(lambda: sorted(int(fd) for fd in os.listdir(f"/proc/{waiter}/fd")), [0, 1, 2])
        children = eventually(lambda: len(Path(f"/proc/{waiter}/task/{waiter}/children").read_text().split()), 1)

    assert files == [0, 1, 2]
    assert children == 1


# -- clocks -----------------------------------------------------------------------------------------------------------


def test_clocks_run_ahead_inside_and_not_outside() -> None:
    day = 86_400
    before = time.clock_gettime(time.CLOCK_BOOTTIME)

    def act() -> tuple[float, float, float]:
        monotonic = time.monotonic()
        unshare_time(monotonic=-0.5, boottime=day)
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return time.clock_gettime(time.CLOCK_BOOTTIME), uptime, time.monotonic() - monotonic

    boottime, uptime, monotonic = in_child(act)

    after = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before + day <= boottime <= after + day
    assert before + day - 1 <= uptime <= after + day
    assert -0.5 <= monotonic <= -0.5 + (after - before)


def test_a_clock_that_is_no_number_or_before_zero_is_refused() -> None:
    with pytest.raises(InputError):
        in_child(lambda: unshare_time(boottime=float("nan")))
    with pytest.raises(KernelError, match="ERANGE"):
        in_child(lambda: unshare_time(boottime=-1e12))


# -- users ------------------------------------------------------------------------------------------------------------


def test_a_new_user_namespace_gives_every_capability_and_nobodys_id() -> None:
    with held(unshare_user) as pid:
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        uid = next(line for line in status if line.startswith("Uid"))
        maps = Path(f"/proc/{pid}/uid_map").read_text()

    assert in_child(lambda: (unshare_user(), os.getuid())[1]) == 65534
    assert (uid.split()[1], maps) == ("0", "")


def test_map_ids_makes_root_inside_of_an_ordinary_user_outside() -> None:
    with held(unshare_user) as pid:
        map_ids(target(pid), outside=100_000, count=10)
        inside = subprocess.run(
            ["nsenter", "--user", "--target", str(pid), "--setuid", "3", "--setgid", "3", "cat", "/proc/self/uid_map"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        maps = [Path(f"/proc/{pid}/{name}").read_text().split() for name in ("uid_map", "gid_map")]

    assert maps == [["0", "100000", "10"]] * 2
    assert inside.split() == ["0", "100000", "10"]


def test_an_ordinary_user_can_map_itself_to_root() -> None:
    def act() -> tuple[list[str], list[str], str, int]:
        os.setgroups([])
        os.setresgid(1000, 1000, 1000)
        os.setresuid(1000, 1000, 1000)
        with held(unshare_user) as pid:
            map_ids(target(pid))
            maps = [Path(f"/proc/{pid}/{name}").read_text().split() for name in ("uid_map", "gid_map")]
            owner = Path(f"/proc/{pid}/status").stat().st_uid
            return maps[0], maps[1], Path(f"/proc/{pid}/setgroups").read_text(), owner

    assert in_child(act) == (["0", "1000", "1"], ["0", "1000", "1"], "deny\n", 1000)


def test_a_process_in_a_new_user_namespace_still_dies_with_its_parent() -> None:
    def act() -> int:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            child = os.fork()
            if child == 0:
                unshare_user()
                os.write(writer, b"%d" % os.getpid())
                signal.pause()
            signal.pause()
        child = int(os.read(reader, 16))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return child

    child = in_child(act)
    assert eventually(lambda: start_time(child), 0) == 0


def test_a_second_map_is_refused_and_the_error_says_why() -> None:
    with held(unshare_user) as pid:
        map_ids(target(pid))
        with pytest.raises(KernelError, match="written once"):
            map_ids(target(pid))


# -- joining ----------------------------------------------------------------------------------------------------------


def test_join_enters_only_the_namespaces_that_are_named() -> None:
    def act() -> None:
        for kind in ALONE:
            getattr(namespaces, f"unshare_{kind}")()
        hostname("joined")

    with held(act) as pid:
        theirs = namespaces_of(pid)
        inside, name = in_child(lambda: (join(pid, "uts", "net"), namespaces_of("self"), os.uname().nodename)[1:])

    assert name == "joined"
    assert [kind for kind in NAMESPACES if inside[kind] == theirs[kind]] == ["net", "pid", "time", "user", "uts"]


def test_join_without_names_enters_all_of_them_with_one_call() -> None:
    def act() -> None:
        unshare_user()
        for kind in ALONE:
            getattr(namespaces, f"unshare_{kind}")()
        unshare_pid()

    def enter(pid: int) -> tuple[dict[str, str], list[str]]:
        with recording() as calls:
            join(pid)
        return namespaces_of("self"), [call.name for call in calls]

    with held(act) as waiter:
        init = only_child(waiter)
        map_ids(target(init))
        theirs = namespaces_of(init)
        ours, calls = in_child(lambda: enter(init))

    assert ours == theirs
    assert calls.count("setns") == 1


def test_join_refuses_what_is_no_namespace_and_a_process_that_is_gone() -> None:
    with pytest.raises(InputError, match="mount"):
        in_child(lambda: join(os.getpid(), "mount"))
    with pytest.raises(KernelError, match="ESRCH"):
        in_child(lambda: join(2**22 - 1))


# -- helpers ----------------------------------------------------------------------------------------------------------


def started(act: Callable[[], None]) -> int:
    """As `held`, but the test ends the process and waits for it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        stage.serve()
        act()
        os.write(writer, b"x")
        signal.pause()
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)
    return pid


def processes_of_group(group: int) -> list[str]:
    return [pid for pid in os.listdir("/proc") if pid.isdigit() and _group(pid) == group and start_time(int(pid))]


def _group(pid: str) -> int:
    try:
        return os.getpgid(int(pid))
    except ProcessLookupError:
        return 0


def start_waiter(after: str, before: str = "pass") -> "subprocess.Popen[str]":
    """A Python that applies unshare_pid between two pieces of code."""
    code = f"""
import os
from scratchlab.stages import stage
from scratchlab.stages.namespaces import unshare_pid
stage.serve()
{before}
unshare_pid()
{after}
"""
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True, process_group=0)


def waiter_runs(after: str, before: str = "pass") -> "subprocess.CompletedProcess[str]":
    process = start_waiter(after, before)
    out, err = process.communicate(timeout=20)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
