"""What every test may use, and the promise that a test leaves nothing behind."""

import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.leaks import host_state

R = TypeVar("R")

# A shell lets what it starts in the background ignore Ctrl-C, and so would all that our tests start: some are about Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

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
