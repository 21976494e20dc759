"""Seccomp on the real kernel: what a filter refuses, how, and that everything else goes on."""

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from scratchlab import Sandbox, linux, stages
from scratchlab.errors import InputError, KernelError
from scratchlab.linux import Cap, SeccompFlag, SeccompOp, bpf
from scratchlab.linux.bpf import ALLOW, Action, Filter, Rule, Verdict
from scratchlab.linux.numbers import here
from scratchlab.stages.filters import MODES, filter_of, seccomp
from scratchlab.stages.privileges import FEW, capabilities, no_new_privs, user
from tests.conftest import eventually, held, in_child, needs, needs_root
from tests.linux.bpf_machine import decide
from tests.stages import second_abi
from tests.stages.processes import status

pytestmark = needs_root

libc = ctypes.CDLL(None, use_errno=True)

has_second_abi = needs(second_abi.works(), "needs an x86_64 kernel that also runs 32-bit programs: CONFIG_IA32_EMULATION")


def outcome(act: Callable[[], object]) -> str:
    """ "worked", or the errno's name."""
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "worked"


def raw(name: str, *arguments: object) -> str:
    """A system call with nothing between us and the kernel."""
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return errno.errorcode[ctypes.get_errno()] if libc.syscall(ctypes.c_long(here()[name]), *words) == -1 else "worked"


def ended(act: Callable[[], object]) -> int:
    """The signal that ends a child that does `act`, or 0."""
    child = os.fork()
    if child == 0:
        stages.stage.serve()
        act()
        os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


# -- what is refused --------------------------------------------------------------------------------------------------


def test_a_refused_call_fails_and_the_others_and_everybody_else_go_on(tmp_path: Path) -> None:
    def act() -> tuple[str, str]:
        seccomp(["mkdir", "mkdirat"])
        return outcome(lambda: os.mkdir(tmp_path / "inside")), outcome(lambda: (tmp_path / "file").touch())

    assert in_child(act) == ("EPERM", "worked")
    assert outcome(lambda: os.mkdir(tmp_path / "outside")) == "worked"


def test_the_host_sees_the_filter_and_programs_inherit_it() -> None:
    with held(lambda: seccomp(["mkdir"])) as pid:
        assert (status(pid)["Seccomp"], status(os.getpid())["Seccomp"]) == ("2", "0")

    def act() -> str:
        seccomp(["mkdir"])
        return subprocess.run(["grep", "Seccomp:", "/proc/self/status"], capture_output=True, text=True, check=True).stdout

    assert in_child(act).split() == ["Seccomp:", "2"]


def test_every_number_finds_its_own_rule_in_the_kernel_as_in_the_interpreter() -> None:
    needed = {"write", "mmap", "munmap", "brk", "exit_group", "mremap", "madvise", "futex"}  # by Python, to tell of it
    numbers = {name: number for name, number in here().items() if name not in needed}
    rules = {name: [Rule((), Action(Verdict.ERRNO, 1000 + number))] for name, number in numbers.items()}
    machine = os.uname().machine
    program = bpf.program(Filter(rules, ALLOW, Action(Verdict.ERRNO, 999)), machine)

    def act() -> dict[str, int]:
        no_new_privs()
        linux.seccomp(SeccompOp.SET_MODE_FILTER, SeccompFlag(0), program)
        found = {}
        for name, number in numbers.items():
            assert libc.syscall(ctypes.c_long(number)) == -1
            found[name] = ctypes.get_errno()
        return found

    code = bpf.assemble(program)
    assert in_child(act) == {name: decide(code, machine, number) & 0xFFFF for name, number in numbers.items()}


@has_second_abi
def test_the_second_table_is_closed() -> None:
    def act() -> tuple[int, int]:
        before = second_abi.call(second_abi.I386_GETPID) - os.getpid()
        seccomp(["mkdir"])
        return before, second_abi.call(second_abi.I386_GETPID)

    assert in_child(act) == (0, -errno.ENOSYS)
    assert ended(lambda: (seccomp(["mkdir"], "kill"), second_abi.call(second_abi.I386_GETPID))) == signal.SIGSYS
    # x32, which shares the processor's mode with us and is known by a bit of its numbers.
    assert decide(bpf.assemble(filter_of(["mkdir"])), "x86_64", 0x40000000 + 39) == 0x50000 + errno.ENOSYS


# -- modes ------------------------------------------------------------------------------------------------------------


def test_a_refused_call_kills_where_that_is_asked_for() -> None:
    assert ended(lambda: (seccomp(["mkdir"], "kill"), os.mkdir("/nowhere/at/all"))) == signal.SIGSYS
    assert ended(lambda: (seccomp(["mkdir"], "kill"), os.getpid())) == 0


def test_threads_start_under_our_profile_in_every_mode() -> None:
    def act(mode: str) -> bool:
        no_new_privs()
        seccomp(mode=mode, capabilities=FEW)
        ran = threading.Event()
        threading.Thread(target=ran.set).start()
        return ran.wait(10)

    assert [in_child(lambda mode=mode: act(mode)) for mode in MODES] == [True, True, True]  # type: ignore[misc]


def test_what_libraries_fall_back_from_is_not_deadly_and_the_rest_is() -> None:
    code = bpf.assemble(filter_of(mode="kill", capabilities=FEW))
    answers = {name: decide(code, os.uname().machine, here()[name]) for name in ("clone3", "openat2", "mount", "listns", "read")}

    assert answers == {
        "clone3": Verdict.ERRNO | errno.ENOSYS, "openat2": Verdict.ERRNO | errno.ENOSYS, "mount": Verdict.KILL_PROCESS,
        "listns": Verdict.KILL_PROCESS, "read": Verdict.ALLOW,
    }  # fmt: skip


@needs(os.access("/dev/kmsg", os.R_OK), "needs the kernel's log")
def test_a_call_that_is_only_logged_works_and_the_kernel_tells_of_it(tmp_path: Path) -> None:
    def act() -> int:
        seccomp(["mkdir", "mkdirat"], "log")
        os.mkdir(tmp_path / "made")
        return os.getpid()

    pid = in_child(act)

    def told() -> bool:
        log = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
        return any("type=1326" in line and f" pid={pid} " in line for line in log.splitlines())

    assert (tmp_path / "made").is_dir()
    assert eventually(told)


# -- the profile of ours ----------------------------------------------------------------------------------------------


def under_ours(act: Callable[[], object]) -> object:
    def first() -> object:
        capabilities(FEW)
        no_new_privs()
        seccomp()
        return act()

    return in_child(first)


def test_no_way_is_left_to_make_a_setuid_file(tmp_path: Path) -> None:
    plain, made, wanted = tmp_path / "plain", os.fsencode(tmp_path / "made"), 0o4755
    plain.touch()
    # struct open_how for openat2; the io_uring has its own copy of all these calls.
    how = (ctypes.c_uint64 * 3)(os.O_CREAT | os.O_WRONLY, wanted, 0)

    def act() -> list[str]:
        ways = [
            outcome(lambda: plain.chmod(wanted)),
            outcome(lambda: plain.chmod(0o2755)),
            outcome(lambda: os.fchmod(os.open(plain, os.O_RDONLY), wanted)),
            outcome(lambda: os.open(made, os.O_CREAT | os.O_WRONLY, wanted)),
            outcome(lambda: os.open(tmp_path, os.O_TMPFILE | os.O_WRONLY, wanted)),
            outcome(lambda: os.mknod(made, 0o100000 | wanted)),
            raw("fchmodat2", -100, os.fsencode(plain), wanted, 0),
            raw("openat2", -100, made, how, 24),
            raw("io_uring_setup", 1, ctypes.create_string_buffer(120)),
        ]
        return [*ways, outcome(lambda: plain.chmod(0o755)), outcome(lambda: os.open(made, os.O_CREAT | os.O_WRONLY, 0o755))]

    assert under_ours(act) == ["EPERM"] * 6 + ["ENOSYS", "ENOSYS", "EPERM", "worked", "worked"]
    assert plain.stat().st_mode & 0o7777 == 0o755


def test_no_namespace_no_mount_no_keyring_and_no_strange_socket() -> None:
    def act() -> list[str]:
        return [
            raw("unshare", 0x10000000),
            raw("clone", 0x10000000 | 17, 0, 0, 0, 0),
            raw("mount", None, None, None, 0, None),
            raw("keyctl", 0, 0),
            raw("ptrace", 0, 0, 0, 0),
            outcome(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
            outcome(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)),
            outcome(lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)),
            outcome(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)),
            outcome(lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM)),
        ]

    assert under_ours(act) == ["EPERM"] * 5 + ["EAFNOSUPPORT"] * 3 + ["worked"] * 2


def test_what_capabilities_are_kept_decides_what_the_profile_allows(tmp_path: Path) -> None:
    def act() -> str:
        no_new_privs()
        seccomp()  # root still has all: CAP_SYS_ADMIN too
        return raw("unshare", 0)

    assert in_child(act) == "worked"
    assert filter_of(capabilities=["FSETID"]) != filter_of(capabilities=[]) == filter_of(capabilities=["CHOWN"])
    assert filter_of(capabilities=[Cap.FSETID]) == filter_of(capabilities="cap_fsetid")


def test_a_sandbox_lives_on_under_the_filter() -> None:
    with Sandbox("filtered") as box:
        box.apply(stages.capabilities, ["KILL"])
        box.apply(stages.no_new_privs)
        change = box.apply(stages.seccomp)

        assert "seccomp   off → filter" in str(change) and "seccomp(operation=SET_MODE_FILTER" in str(change)
        assert box.run("sh", "-c", "echo $((1 + 1)); exit 3").status == 3
        assert box.apply(stages.rlimits, NOFILE=64)
        with pytest.raises(KernelError, match="EPERM"):
            box.apply(stages.unshare_uts)
        assert (
            box.run(sys.executable, "-c", "import threading; threading.Thread(target=print, args=('ran',)).start()").out == "ran"
        )


# -- bad input --------------------------------------------------------------------------------------------------------


def test_without_the_promise_and_without_power_it_is_refused_and_the_reason_is_told() -> None:
    with pytest.raises(KernelError, match="no_new_privs"):
        in_child(lambda: (user(1000), seccomp(["mkdir"])))

    assert in_child(lambda: (no_new_privs(), user(1000), seccomp(["mkdir"]), status("self")["Seccomp"])[3]) == "2"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((["moutn"],), "perhaps mount"),
        (([["mkdir"]],), "no system call"),
        ((5,), "is no seccomp profile"),
        ((["mkdir"], "warn"), "errno, kill, log"),
        (("/no/such/file",), "No such file"),
        ((["mkdir"], "errno", ["FLY"]), "not a capability"),
        (({"defaultAction": "SCMP_ACT_MAYBE"},), "no such action"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_there_is_a_filter(arguments: tuple[object, ...], complaint: str) -> None:
    def act() -> str:
        with pytest.raises(InputError, match=complaint):
            seccomp(*arguments)  # type: ignore[arg-type]
        return status("self")["Seccomp"]

    assert in_child(act) == "0"
