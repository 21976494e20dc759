"""A machine of its own for each fuzz test (tests/survival.py): its mounts, links and names can be compared exactly."""

import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import note

from scratchlab import Sandbox, linux
from scratchlab.errors import GoneError, KernelError, ScratchlabError
from scratchlab.linux import Clone, nftables
from scratchlab.sandbox import steps as journey
from scratchlab.sandbox.client import RemoteKeeper
from scratchlab.stages import STAGES, Step, stage
from tests.conftest import eventually
from tests.fuzz.profile import in_time
from tests.fuzz.values import filled, prelude
from tests.survival import PREFIX, on_a_machine_of_its_own

NAME = f"{PREFIX}-fuzz"


def laid_out(where: Path, busybox: Path) -> dict[str, Any]:
    """A root filesystem, an empty directory, and a tree with what paths may stumble over."""
    tree, empty = where / "tree", where / "empty"
    for directory in (tree, empty, tree / "upper", tree / "work"):
        directory.mkdir()
    (tree / "file").write_text("text")
    (tree / "profile.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    (tree / "loop").symlink_to("loop")
    (tree / "up").symlink_to("../..")
    (tree / os.fsdecode("ü".encode() + b"\xff")).mkdir()
    disks = sorted(disk.name for disk in Path("/sys/block").iterdir() if not disk.name.startswith(("ram", "loop", "zram")))
    return {"<root>": str(busybox), "<tree>": str(tree), "<empty>": str(empty), "<disk>": f"/dev/{[*disks, 'null'][0]}"}


def host() -> dict[str, object]:
    """All of the host that no step may change, not even for a moment."""
    return {
        "name": (os.uname().nodename, Path("/proc/sys/kernel/domainname").read_text()),
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "namespaces": stage.namespaces_of("self"),
        "root": os.stat("/").st_ino,
    }


def left(keeper: RemoteKeeper) -> dict[str, object]:
    """All of the host that is as before once a sandbox is closed."""
    pid = keeper.process.pid
    return {
        **host(),
        "links": sorted(name for _, name in socket.if_nameindex()),
        "rules": nftables.tables(),
        "groups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob(f"*/scratchlab/{NAME}*")),
        "state": sorted(str(path) for path in Path("/run").rglob("*") if not path.is_dir() and path.name != "lock"),
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "keeper's files": sorted(filter(None, (kind_of(pid, fd) for fd in os.listdir(f"/proc/{pid}/fd")))),
        "keeper's children": Path(f"/proc/{pid}/task/{pid}/children").read_text(),
        "processes": sorted(name for name in os.listdir("/proc") if name.isdigit()),
        "our files": len(os.listdir("/proc/self/fd")),
    }


def kind_of(pid: int, fd: str) -> str:
    """What a file descriptor leads to; '' for the one to the packet filter, which may linger until the next (nftables.py)."""
    to = os.readlink(f"/proc/{pid}/fd/{fd}")
    if to.startswith("socket:") and to[8:-1] in Path(f"/proc/{pid}/net/netlink").read_text():
        return ""
    return re.sub(r"\d+", "N", to)


# -- one example ------------------------------------------------------------------------------------------------------


def tried(box: Sandbox, step: Step, look: bool) -> ScratchlabError | None:
    """Do one step. Gives the error of ours that it raised; whatever else it raises fails the test."""
    try:
        if look:
            assert isinstance(repr(box.apply(step.stage, *step.args, **step.kwargs)), str)
        else:
            journey.check(step)
            box._call("missing", stage_name=step.name)
            box.play([step])
    except ScratchlabError as error:
        return error
    return None


def assert_teaches(step: Step, error: ScratchlabError) -> None:
    """An error of ours: in words, and of a system call with its arguments and the cause."""
    assert error.message
    assert not re.match(r"[A-Z]\w*(Error|Exception|Interrupt|Exit)\b", error.message), f"{step!r}: Python's own {error.message}"
    if isinstance(error, KernelError):
        assert error.call and error.message.startswith(f"{error.call}(")
        assert error.hint, f"{step!r}: no cause for {error.message}"


class Machine:
    """One keeper for all examples, and what its host looks like between two of them."""

    def __init__(self, places: dict[str, Any]) -> None:
        self.keeper = RemoteKeeper()
        self.places = {**places, "<keeper>": self.keeper.process.pid}
        with Sandbox(NAME, keeper=self.keeper) as box:
            box.play(prelude("cable"))  # what is made once for all, and kept, is made now
        assert eventually(lambda: any(name.startswith("veth-") for _, name in socket.if_nameindex()), False) is False
        self.before = left(self.keeper)

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """Whatever is done meanwhile: it ends, the keeper lives, and the host is as before."""
        with in_time():
            yield
        assert self.keeper.process.poll() is None
        assert eventually(lambda: left(self.keeper), self.before, patience=30) == self.before

    def try_all(self, todo: list[Step], look: bool = False, first: Sequence[Step] = ()) -> None:
        """Do `first`, then some steps, or find out why not; none of them may change the host even for a moment."""
        peer = Sandbox(f"{NAME}-peer", keeper=self.keeper) if "<peer>" in repr(todo) else None
        with self.unharmed():
            with Sandbox(NAME, keeper=self.keeper) as box:
                if peer:
                    peer.play([Step(STAGES[name]) for name in ("unshare_uts", "unshare_net", "unshare_mount")])
                box.play(first)
                self._try_all(box, todo, {**self.places, **({"<peer>": peer.pid} if peer else {})}, look)
            if peer:
                peer.close()

    def _try_all(self, box: Sandbox, todo: list[Step], meant: dict[str, Any], look: bool) -> None:
        meanwhile = host()
        for each in todo:
            step = Step(each.stage, filled(each.args, meant), filled(each.kwargs, meant))
            error = tried(box, step, look)
            note(f"{step!r}: {error or 'done'}")
            assert host() == meanwhile
            if error:
                assert_teaches(step, error)
            if isinstance(error, GoneError):
                break


def in_machine(places: dict[str, Any], act: Callable[[Machine], None]) -> None:
    """Do `act` on a machine of its own, also with a name of its own."""

    def apart() -> None:
        linux.unshare(Clone.NEWUTS | Clone.NEWIPC)
        for words in ("link add out type veth peer far", "addr add 10.99.0.2/24 dev out", "link set far up", "link set out up",
                      "route add default via 10.99.0.1"):  # fmt: skip
            subprocess.run(["ip", *words.split()], check=True)  # a way out, for what wants one
        machine = Machine(places)
        try:
            act(machine)
        finally:
            machine.keeper.close()

    on_a_machine_of_its_own(apart)
