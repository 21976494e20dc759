"""Landlock on the real kernel: what a process gave up fails for it, works for others, and the rest goes on."""

import errno
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scratchlab import Sandbox, linux, stages
from scratchlab.errors import InputError, KernelError, StageError
from scratchlab.linux import LandlockFs, LandlockNet, recording
from scratchlab.stages import access
from scratchlab.stages.access import EXECUTE, FILES_SINCE, READ, WRITE, landlock
from scratchlab.stages.filters import seccomp
from scratchlab.stages.privileges import no_new_privs, user
from tests.conftest import in_child, needs, needs_root, only_where


def abi() -> int:
    try:
        return linux.landlock_abi()
    except KernelError:
        return 0


ABI = abi()

pytestmark = [needs_root, needs(ABI, "needs Landlock: a kernel with CONFIG_SECURITY_LANDLOCK, booted with lsm=landlock,…")]

has_ports = only_where(ABI >= 4, "needs version 4 of Landlock: Linux 6.7")
has_scopes = only_where(ABI >= 6, "needs version 6 of Landlock: Linux 6.12")


def outcome(act: Callable[[], object]) -> str:
    """ "worked", or the errno's name."""
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "worked"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("mine", "theirs"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "file").write_text(name)
    return tmp_path


# -- files ------------------------------------------------------------------------------------------------------------


def test_reading_is_kept_below_the_given_paths_and_writing_stays_free(tree: Path) -> None:
    def act() -> list[str]:
        landlock(read=[str(tree / "mine")])
        return [
            outcome(lambda: (tree / "mine/file").read_text()),
            outcome(lambda: os.listdir(tree / "mine/sub")),
            outcome(lambda: (tree / "theirs/file").read_text()),
            outcome(lambda: os.listdir(tree / "theirs")),
            outcome(lambda: os.close(os.open(tree / "theirs/file", os.O_WRONLY))),
            outcome(lambda: os.rename(tree / "theirs/file", tree / "theirs/sub/file")),
        ]

    assert in_child(act) == ["worked", "worked", "EACCES", "EACCES", "worked", "worked"]
    assert (tree / "theirs/sub/file").read_text() == "theirs"


def test_writing_is_also_making_removing_and_moving(tree: Path) -> None:
    mine, theirs = tree / "mine", tree / "theirs"

    def act() -> list[str]:
        landlock(write=[str(mine)])
        return [
            outcome(lambda: (mine / "new").write_text("x")),
            outcome(lambda: os.rename(mine / "new", mine / "sub/new")),
            outcome(lambda: os.remove(mine / "sub/new")),
            outcome(lambda: (mine / "dir").mkdir()),
            outcome(lambda: os.symlink("file", mine / "link")),
            outcome(lambda: (theirs / "file").write_text("x")),
            outcome(lambda: (theirs / "dir").mkdir()),
            outcome(lambda: os.remove(theirs / "file")),
            outcome(lambda: os.mknod(mine / "null", 0o020666, os.makedev(1, 3))),
            outcome(lambda: (theirs / "file").read_text()),
        ]

    assert in_child(act) == ["worked"] * 5 + ["EACCES"] * 4 + ["worked"]
    assert (theirs / "file").read_text() == "theirs"


def test_execution_is_kept_for_the_given_programs_and_their_libraries() -> None:
    def act() -> list[object]:
        landlock(execute=["/usr", "/lib", "/lib64"], read=[])
        ran = subprocess.run(["/usr/bin/true"], check=False).returncode
        return [ran, outcome(lambda: Path("/etc/passwd").read_text())]

    assert in_child(act) == [0, "EACCES"]

    def narrow() -> list[object]:
        loaders = [str(path) for path in Path("/").glob("lib*/ld-linux-*.so.*")]
        landlock(execute=["/usr/bin/true", *loaders])
        return [subprocess.run(["/usr/bin/true"], check=False).returncode, outcome(lambda: os.execv("/usr/bin/id", ["id"]))]

    assert in_child(narrow) == [0, "EACCES"]


def test_a_single_file_may_be_given(tree: Path) -> None:
    def act() -> list[str]:
        landlock(write=[str(tree / "mine/file")])
        return [outcome(lambda: (tree / "mine/file").write_text("new")), outcome(lambda: (tree / "mine/other").write_text("new"))]

    assert in_child(act) == ["worked", "EACCES"]


def test_nothing_given_is_nothing_allowed_and_a_second_rule_only_takes_more(tree: Path) -> None:
    def act() -> list[str]:
        landlock(read=[str(tree)])
        landlock(read=["/"])
        first = outcome(lambda: Path("/etc/passwd").read_text())
        landlock(read=[])
        return [first, outcome(lambda: (tree / "mine/file").read_text())]

    assert in_child(act) == ["EACCES", "EACCES"]


def test_commands_of_a_sandbox_are_held_to_it_too(tree: Path) -> None:
    with Sandbox("locked") as box:
        box.apply(stages.no_new_privs)
        lacking = box.apply(stages.landlock, write=["/dev", str(tree / "mine")]).value

        assert (lacking == []) == (FILES_SINCE[LandlockFs.IOCTL_DEV].abi <= ABI)
        assert box.run("sh", "-c", f"echo x > {tree}/mine/new; echo x > {tree}/theirs/new").status != 0
    assert ((tree / "mine/new").exists(), (tree / "theirs/new").exists()) == (True, False)


# -- ports and scopes -------------------------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@has_ports
def test_ports_are_kept_by_number(listener: socket.socket) -> None:
    port = listener.getsockname()[1]

    def act(allowed: int) -> list[str]:
        landlock(tcp_connect=[allowed], tcp_bind=[])
        return [
            outcome(lambda: socket.create_connection(("127.0.0.1", port))),
            outcome(lambda: socket.create_server(("127.0.0.1", 0))),
            outcome(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(("127.0.0.1", 0))),
        ]

    assert in_child(lambda: act(port)) == ["worked", "EACCES", "worked"]
    assert in_child(lambda: act(port - 1)) == ["EACCES", "EACCES", "worked"]


@has_scopes
def test_signals_and_abstract_sockets_are_kept_to_ones_own() -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name := f"\0scratchlab-{os.getpid()}")
        server.listen()

        def act() -> list[str]:
            landlock(scope=["signal", "abstract_unix_socket"])
            child = os.fork()
            if child == 0:
                signal.pause()
            answers = [
                outcome(lambda: os.kill(os.getppid(), 0)),
                outcome(lambda: socket.socket(socket.AF_UNIX).connect(name)),
                outcome(lambda: os.kill(child, signal.SIGKILL)),
            ]
            os.waitpid(child, 0)
            return answers

        assert in_child(act) == ["EPERM", "EPERM", "worked"]


# -- versions and bad input -------------------------------------------------------------------------------------------


def test_each_access_is_asked_for_only_where_the_kernel_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # The kernel here knows more; it would refuse a struct that is too short for what is asked.
    for old in range(1, ABI + 1):
        monkeypatch.setattr(access, "_abi", lambda old=old: old)

        def act() -> tuple[list[str], str]:
            with recording() as calls:
                missing = landlock(read=["/"], write=["/"], execute=["/"])
            return missing, next(call.arguments["fs"] for call in calls if call.name == "landlock_create_ruleset")

        missing, handled = in_child(act)
        newer = {right.name for right, since in FILES_SINCE.items() if since.abi > old}
        assert {line.partition(":")[0] for line in missing} == newer - {"REFER"}
        assert not newer & set(handled.split("|"))


def test_what_was_asked_for_by_name_is_refused_by_an_old_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_abi", lambda: 3)

    with pytest.raises(StageError, match=r"CONNECT_TCP: needs version 4 .* has 3(.|\n)*Linux 6.7"):
        in_child(lambda: landlock(tcp_connect=[80]))


def test_a_hidden_landlock_is_told() -> None:
    with pytest.raises(StageError, match="hides it"):
        in_child(lambda: (seccomp({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [HIDDEN]}), landlock(read=["/"])))


HIDDEN = {"names": ["landlock_create_ruleset"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ({}, "change nothing"),
        ({"read": ["/no/such/place"]}, "/no/such/place"),
        ({"write": [0]}, "0: no such file"),
        ({"tcp_bind": [65536]}, "not a TCP port"),
        ({"tcp_connect": ["http"]}, "not a TCP port"),
        ({"scope": ["everything"]}, "abstract_unix_socket"),
    ],
)
def test_bad_input_is_refused(rules: dict[str, list[str]], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        in_child(lambda: landlock(**rules))  # type: ignore[arg-type]


def test_without_the_promise_and_without_power_it_is_refused_and_the_reason_is_told() -> None:
    with pytest.raises(KernelError, match="no_new_privs"):
        in_child(lambda: (user(1000), landlock(read=["/"])))

    in_child(lambda: (no_new_privs(), user(1000), landlock(read=["/"])))


def test_the_groups_of_accesses_do_not_overlap_where_they_must_not() -> None:
    assert not READ & WRITE and EXECUTE & READ == READ and not WRITE & LandlockFs.MAKE_BLOCK
    assert list(LandlockNet) == [LandlockNet.BIND_TCP, LandlockNet.CONNECT_TCP]
