"""A dozen things that root does, each by one capability; and who can still do them.  capabilities(7)"""

import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from scratchlab import linux
from scratchlab.errors import KernelError
from scratchlab.lessons.experiments import asked, in_child
from scratchlab.lessons.folder import Folder
from scratchlab.linux import Cap, InterfaceFlag
from scratchlab.sandbox import Sandbox

SOMEBODY = 1000  # another user


class Around(NamedTuple):
    """What the host lays out: a folder of root's with a file of somebody else's, and a process of theirs."""

    folder: str
    theirs: str
    process: int


class Operation(NamedTuple):
    """One thing that only some may do."""

    says: str
    needs: Cap
    act: Callable[[Around], Any]


def _mount(around: Around) -> None:
    linux.mount("tmpfs", around.folder, "tmpfs")
    linux.umount2(around.folder)


def _mknod(around: Around) -> None:
    node = f"{around.folder}/null"
    linux.mknod(node, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.unlink(node)


DOZEN = (
    Operation("give a file away", Cap.CHOWN, lambda around: os.chown(f"{around.folder}/ours", SOMEBODY, -1)),
    Operation("open a file that is closed to you", Cap.DAC_OVERRIDE, lambda around: open(around.theirs, "a").close()),
    Operation("change the mode of somebody's file", Cap.FOWNER, lambda around: os.chmod(around.theirs, 0o600)),
    Operation("signal somebody's process", Cap.KILL, lambda around: os.kill(around.process, 0)),
    Operation("become another user", Cap.SETUID, lambda _: os.setuid(SOMEBODY)),
    Operation("join other groups", Cap.SETGID, lambda _: os.setgroups([SOMEBODY])),
    Operation("serve on port 80", Cap.NET_BIND_SERVICE, lambda _: socket.socket().bind(("", 80))),
    Operation("send packets of your own making", Cap.NET_RAW, lambda _: socket.socket(type=socket.SOCK_RAW, proto=1)),
    Operation("switch a network link on", Cap.NET_ADMIN, lambda _: linux.set_flags("lo", InterfaceFlag.UP)),
    Operation("mount a filesystem", Cap.SYS_ADMIN, _mount),
    Operation("change the root directory", Cap.SYS_CHROOT, lambda around: linux.chroot(around.folder)),
    Operation("make a device node", Cap.MKNOD, _mknod),
)


class Powers(NamedTuple):
    """The dozen, with what the kernel said of each: "" or an errno."""

    said: Mapping[str, str]

    @property
    def refused(self) -> list[str]:
        """What could not be done."""
        return [name for name, errno in self.said.items() if errno]

    def __repr__(self) -> str:
        return _table([(each.says, f"CAP_{each.needs.name}", self.said[each.says] or "done") for each in DOZEN])


class Drops(NamedTuple):
    """What could not be done any more, for each capability that was dropped alone."""

    refused: Mapping[Cap, list[str]]

    def __repr__(self) -> str:
        return _table([(f"without CAP_{cap.name}", ", ".join(names) or "nothing") for cap, names in self.refused.items()])


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def powers(box: Sandbox) -> Powers:
    """Try the dozen in a sandbox that has a network and mounts of its own. Nothing of it stays."""
    with _around() as around:
        return Powers(asked(box, _try_all, *around))


def one_by_one(box: Sandbox) -> Drops:
    """Drop each of the dozen's capabilities alone, each time in another child, and try all twelve."""
    with _around() as around:
        return Drops({Cap(number): names for number, names in asked(box, _drop_each, *around)})


@contextmanager
def _around() -> Iterator[Around]:
    home = Folder.make("13")
    theirs = subprocess.Popen(["sleep", "1000"], user=SOMEBODY)
    try:
        around = Around(str(home.path), str(home.path / "theirs"), theirs.pid)
        for name in ("ours", "theirs"):
            (home.path / name).touch(mode=0o600)
        os.chown(around.theirs, SOMEBODY, SOMEBODY)
        yield around
    finally:
        theirs.kill()
        theirs.wait()
        home.close()


# -- inside -----------------------------------------------------------------------------------------------------------


def _try_all(*around: Any) -> dict[str, str]:
    return {each.says: _said(each, Around(*around)) for each in DOZEN}


def _said(operation: Operation, around: Around) -> str:
    """What the kernel says to a child that tries."""

    def attempt() -> int:
        try:
            operation.act(around)
            return 0
        except OSError as error:
            return error.errno or 99

    number = in_child(attempt)
    return KernelError.symbol(number) if number else ""


def _drop_each(*around: Any) -> list[tuple[int, list[str]]]:
    return [(int(each.needs), _refused_without(each.needs, Around(*around))) for each in DOZEN]


def _refused_without(cap: Cap, around: Around) -> list[str]:
    """In a child, because what is dropped does not come back. Its answer is a bit for each of the dozen."""
    reader, writer = os.pipe()

    def attempt() -> int:
        sets = linux.capget()
        kept = sets.permitted & ~linux.mask([cap])
        linux.capset(sets._replace(effective=kept, permitted=kept, inheritable=0))
        return 0 * os.write(writer, bytes(bool(_said(each, around)) for each in DOZEN))

    in_child(attempt)
    os.close(writer)
    with open(reader, "rb") as stream:
        return [each.says for each, refused in zip(DOZEN, stream.read(), strict=True) if refused]
