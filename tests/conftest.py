"""What every test may use, and the promise that a test leaves nothing behind."""

import json
import os
import pickle
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

R = TypeVar("R")

MUST_WORK = bool(os.environ.get("SCRATCHLAB_MUST_WORK"))


def needs(available: object, what: str) -> pytest.MarkDecorator:
    """Skip unless `available`; the reason says how to unskip. SCRATCHLAB_MUST_WORK=1 forbids skipping."""
    return pytest.mark.skipif(not available and not MUST_WORK, reason=what)


def only_where(true: object, what: str) -> pytest.MarkDecorator:
    """Skip unless this is the kind of machine that the test is about. No machine is of all kinds, so this is never forbidden."""
    return pytest.mark.skipif(not true, reason=what)


needs_root = needs(os.geteuid() == 0, "needs root: run as `sudo ./lab test`")


def in_child(act: Callable[[], R]) -> R:
    """Do `act` in a forked child, and give back what it returned, or raise what it raised.

    A test that unshares or mounts does so here, so that the test process itself stays whole.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        with open(writer, "wb") as stream:
            pickle.dump(_outcome(act), stream)
            stream.flush()
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:
        data = stream.read()
    _, status = os.waitpid(pid, 0)
    assert data, f"the child died without an answer: wait status {status}"
    worked, value = pickle.loads(data)
    if not worked:
        raise value
    return value


@contextmanager
def held(act: Callable[[], Any]) -> Iterator[int]:
    """The pid of a forked child that has done `act` and now waits: to be looked at from outside."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ready)
        os.write(done, pickle.dumps(_outcome(lambda: act() and None)))
        signal.pause()
        os._exit(0)
    os.close(done)
    try:
        worked, value = pickle.loads(os.read(ready, 1 << 16))
        if not worked:
            raise value
        yield pid
    finally:
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _outcome(act: Callable[[], Any]) -> tuple[bool, Any]:
    from scratchlab.errors import ScratchlabError, from_wire, to_wire
    from scratchlab.stages import stage

    stage.serve()
    try:
        return True, act()
    except ScratchlabError as error:
        return False, from_wire(to_wire(error))
    except Exception as error:
        return False, error


class HostState(NamedTuple):
    """Everything that our code could leave on the machine, or take from it, as the machine's own tools and files say it."""

    things: set[str]  # that may come and go, while other tests run on the same machine
    fixed: set[str]  # that only come or go by mistake
    switches: dict[str, str]  # sysctls, but for those that some sandbox of another test holds at the moment

    def leaked_since(self, before: "HostState") -> set[str]:
        """What is here now and was not before, or the other way round."""
        switched = {f"{path} is {now}" for path, now in self.switches.items() if before.switches.get(path, now) != now}
        return self.things - before.things | self.fixed ^ before.fixed | switched


def host_state() -> HostState:
    """The machine now."""
    links = json.loads(subprocess.run(["ip", "-json", "-details", "link"], capture_output=True, check=True).stdout)
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False).stdout
    ours = [link["ifname"] for link in links if "linkinfo" in link]
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    fixed = {os.uname().nodename, *mounts, *(link["ifname"] for link in links if "linkinfo" not in link)}
    things = {f"link {name}" for name in ours} | set(tables.splitlines()) | set(_processes())
    return HostState(
        things | _files("/sys/fs/cgroup", "*/scratchlab/*/") | _files("/run/scratchlab", "**/*"), fixed, _switches(ours)
    )


def _files(where: str, pattern: str) -> set[str]:
    while True:
        with suppress(FileNotFoundError):  # it goes while we look: another test's
            found = [path for path in Path(where).glob(pattern) if path.is_dir() == pattern.endswith("/")]
            return {str(path) for path in found if path.name != "lock"}


def _processes() -> Iterator[str]:
    """Agents, and keepers whose program is gone: a program such as this one keeps its keeper for all of its tests."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            # By its command line: a program that is a script is called by the script's name alone.
            orphan = b"python" not in Path(f"/proc/{parent}/cmdline").read_bytes()
            if words.startswith("scratchlab agent") or (" scratchlab.sandbox.keeper " in words and orphan):
                yield f"process {path.name} {words}"


def _switches(ours: list[str]) -> dict[str, str]:
    held = list(Path("/run/scratchlab/shared").glob("sysctl*"))
    root = Path("/proc/sys/net/ipv4")
    paths = [root / "ip_forward", *root.glob("conf/*/forwarding"), *root.glob("conf/*/route_localnet")]
    kept = [path for path in paths if path.parent.name not in ours and not (held and path.name != "route_localnet")]
    return {str(path): _text(path) for path in kept}


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # of a link that has gone
        return ""


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Compare the machine before and after each test. Dying takes the kernel a moment; and other tests come and go meanwhile."""
    before = host_state()
    yield
    leaked = host_state().leaked_since(before)
    deadline = time.monotonic() + 60  # as long as a crowd of another test may take
    while leaked and time.monotonic() < deadline:
        time.sleep(0.02)
        leaked &= host_state().leaked_since(before)
    assert not leaked


@pytest.fixture
def box() -> Iterator[Any]:
    """A sandbox with nothing isolated yet."""
    from scratchlab import Sandbox

    with Sandbox("test") as made:
        yield made


PROGRAMS = [
    "bash", "sh", "ls", "cat", "echo", "sleep", "ps", "hostname", "id", "mount", "env", "head", "tail", "stty", "tty", "true",
    "false", "grep", "touch", "test", "kill", "seq", "rm", "mkdir", "ip", "nohup", "python3",
]  # fmt: skip


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root filesystem with programs of this machine, shared by all tests: what a test writes there, it removes."""
    from scratchlab.rootfs import create

    return create(tmp_path_factory.mktemp("rootfs") / "host", "host", PROGRAMS)


@pytest.fixture(scope="session")
def busybox_rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root filesystem of one static program with many names."""
    from scratchlab.rootfs import create

    return create(tmp_path_factory.mktemp("rootfs") / "busybox", "busybox")


def eventually(act: Callable[[], R], wanted: object = True, patience: float = 20.0) -> R:
    """Ask again until the answer is `wanted`, or give the last answer: for what other processes do in their own time."""
    deadline = time.monotonic() + patience
    while (answer := act()) != wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


@pytest.fixture(scope="session")
def users() -> Iterator[Any]:
    """An ordinary user with a home and a root filesystem of its own, shared by all tests."""
    from tests.ordinary import an_ordinary_user

    with an_ordinary_user(PROGRAMS) as user:
        yield user


@pytest.fixture
def ann(users: Any) -> Iterator[Any]:
    """The ordinary user, of whom a test leaves nothing behind either."""
    yield users
    assert eventually(users.left_behind, set()) == set()
