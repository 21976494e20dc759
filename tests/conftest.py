"""What every test may use, and the promise that a test leaves nothing behind."""

import json
import os
import pickle
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

R = TypeVar("R")

MUST_WORK = bool(os.environ.get("SCRATCHLAB_MUST_WORK"))


def needs(available: object, what: str) -> pytest.MarkDecorator:
    """Skip unless `available`; the reason says how to unskip. SCRATCHLAB_MUST_WORK=1 forbids skipping."""
    return pytest.mark.skipif(not available and not MUST_WORK, reason=what)


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


def host_state() -> dict[str, Any]:
    """Everything that our code could leave on the machine, as the machine's own tools and files say it."""
    links = json.loads(subprocess.run(["ip", "-json", "link"], capture_output=True, check=True).stdout)
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False).stdout
    groups = [str(p) for p in Path("/sys/fs/cgroup").glob("**/scratchlab/**") if p.is_dir()]
    run = Path("/run/scratchlab")
    return {
        "links": sorted(link["ifname"] for link in links),
        "nft tables": sorted(tables.splitlines()),
        "control groups": sorted(group for group in groups if Path(group).name != "scratchlab"),
        "mounts": sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "state files": sorted(str(p) for p in run.rglob("*") if p.is_file() and p.name != "lock") if run.exists() else [],
        "ip_forward": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "hostname": os.uname().nodename,
    }


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Compare the machine before and after each test. A dying network namespace may take a moment over its links."""
    before = host_state()
    yield
    deadline = time.monotonic() + 10
    while (after := host_state()) != before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert after == before


@pytest.fixture
def box() -> Iterator[Any]:
    """A sandbox with nothing isolated yet."""
    from scratchlab import Sandbox

    with Sandbox("test") as made:
        yield made


def eventually(act: Callable[[], R], wanted: object = True, patience: float = 20.0) -> R:
    """Ask again until the answer is `wanted`, or give the last answer: for what other processes do in their own time."""
    deadline = time.monotonic() + patience
    while (answer := act()) != wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer
