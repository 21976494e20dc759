"""What the tests of survival share: a machine that is theirs alone, and everything that could be left on it."""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from scratchlab import linux
from scratchlab.linux import Clone, Mount
from tests.conftest import eventually, in_child

R = TypeVar("R")

PREFIX = f"t{os.getpid()}"  # of all names of sandboxes: control groups are the one thing that other tests see too
SLOW = 10 if os.environ.get("SCRATCHLAB_SLOW") else 1
CLI = [sys.executable, "-m", "scratchlab.cli"]
SWITCHES = ("ip_forward", "conf/*/forwarding", "conf/*/route_localnet", "conf/*/accept_redirects")


def on_a_machine_of_its_own(act: Callable[[], R]) -> R:
    """Do `act` as pid 1, with a network, a /run and sysctls of its own: so whatever is left there is ours."""

    def machine() -> R:
        linux.prctl(linux.Prctl.SET_PDEATHSIG, signal.SIGKILL)
        linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)
        linux.mount("proc", "/proc", "proc")
        linux.mount("tmpfs", "/run", "tmpfs", Mount(0), "mode=755")
        # A new network starts with what the host has at the moment, which may be another test's.
        Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return act()

    def apart() -> R:
        linux.prctl(linux.Prctl.SET_PDEATHSIG, signal.SIGKILL)
        linux.unshare(Clone.NEWNS | Clone.NEWNET | Clone.NEWPID)
        return in_child(machine)

    return in_child(apart)


def left() -> dict[str, object]:
    """All that is on this machine now and could be ours."""
    links = json.loads(subprocess.run(["ip", "-json", "link"], capture_output=True, check=True).stdout)
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return {
        "processes": processes(),
        "links": sorted(link["ifname"] for link in links),
        "rules": rules.splitlines(),
        "control groups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob(f"*/scratchlab/{PREFIX}*")),
        "state": sorted(str(p) for p in Path("/run").rglob("*") if not p.is_dir() and p.name != "lock"),
        "mounts": sorted(mounts),
        "sysctls": {str(p): p.read_text() for glob in SWITCHES for p in Path("/proc/sys/net/ipv4").glob(glob)},
    }


def processes() -> list[str]:
    """Every process of this machine but this one, zombies too, as far as they are not ours to collect."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:  # what others left has become our child: we are pid 1
            pass
    return [f"{pid} {command_line(int(pid))}" for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid()]


def command_line(pid: int) -> str:
    """What ps shows of a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def is_gone(pid: int) -> bool:
    """Whether a process has ended, and was collected or only waits for that."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def difference(before: dict[str, object], patience: float = 20.0) -> dict[str, object]:
    """What is different from before, and does not go away by itself."""
    after = eventually(left, before, patience)
    return {what: (before[what], after[what]) for what in before if before[what] != after[what]}


def forked(act: Callable[[], object]) -> int:
    """The pid of a child that does `act` and ends: a program of which the test has the code but not the fate."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return pid


def wait(pid: int) -> int:
    """How a child ended: its status, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill(pid: int) -> None:
    """SIGKILL, and wait until it is dead: then the kernel has closed what it held."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: is_gone(pid))


def told(fd: int, patience: float = 30.0) -> str:
    """The next line from a pipe."""
    deadline, line = time.monotonic() + patience, b""
    while not line.endswith(b"\n") and time.monotonic() < deadline:
        piece = os.read(fd, 1)
        if not piece:
            break
        line += piece
    return line.decode().strip()
