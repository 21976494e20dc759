"""Paths and files: which part is missing, closed, full, read-only, or in use. Each is provoked for real."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scratchlab import linux
from scratchlab.linux import At, Mount, MountAttr
from tests.conftest import eventually, needs_root
from tests.errors.provoked import call, nobody, open_, own_mounts, says

pytestmark = needs_root

Here = Callable[[Path], object]


def ring(here: Path) -> None:
    (here / "a").symlink_to("b")
    (here / "b").symlink_to("a")
    open_(here / "a" / "file")


def no_follow(here: Path) -> None:
    (here / "link").symlink_to("/etc/hostname")
    open_(here / "link", os.O_RDONLY | os.O_NOFOLLOW)


def closed_directory(here: Path) -> None:
    (here / "closed").mkdir(mode=0o700)
    nobody()
    open_(here / "closed" / "file")


def closed_file(here: Path) -> None:
    (here / "mine").touch(0o600)
    nobody()
    open_(here / "mine")


def closed_for_writing(here: Path) -> None:
    nobody()
    linux.mkdir(f"{here}/new")


def mounted(here: Path, flags: Mount = Mount(0), data: str = "mode=777") -> None:
    own_mounts()
    linux.mount("tmpfs", str(here), "tmpfs", flags, data)


def read_only_mount(here: Path) -> None:
    mounted(here)
    linux.mount_setattr(str(here), At(0), MountAttr.RDONLY)
    linux.mkdir(f"{here}/new")


def read_only_filesystem(here: Path) -> None:
    mounted(here)
    linux.mount(None, str(here), None, Mount.REMOUNT | Mount.RDONLY)
    linux.mount_setattr(str(here), At(0))
    linux.mkdir(f"{here}/new")


def device_on_nodev(here: Path) -> None:
    mounted(here, Mount.NODEV)
    linux.mknod(f"{here}/null", 0o020666, os.makedev(1, 3))
    open_(here / "null")


def full(here: Path) -> None:
    mounted(here, data="size=64k")
    (here / "ballast").touch()
    fd = open_(here / "ballast", os.O_WRONLY)
    call("write", lambda: [os.write(fd, bytes(4096)) for _ in range(100)], file=f"{here}/ballast")


def out_of_inodes(here: Path) -> None:
    mounted(here, data="nr_inodes=3")
    for number in range(5):
        linux.mkdir(f"{here}/{number}")


def many_open(_here: Path) -> None:
    linux.setrlimit("RLIMIT_NOFILE", 20, 20)
    for _ in range(30):
        open_("/dev/null")


def too_large(here: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    linux.setrlimit("RLIMIT_FSIZE", 10, 10)
    fd = open_(here / "file", os.O_WRONLY | os.O_CREAT)
    os.write(fd, bytes(10))
    call("write", lambda: os.write(fd, b"x"), file=f"{here}/file")


def written_while_run(here: Path) -> None:
    program = here / "sleep"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    with subprocess.Popen([program, "60"]) as running:
        try:
            # Linux 6.1 closes the descriptor by which Popen knows that the program runs before /proc shows the program.
            assert eventually(lambda: Path(f"/proc/{running.pid}/comm").read_text(), "sleep\n") == "sleep\n"
            open_(program, os.O_WRONLY)
        finally:
            running.kill()


def run_while_written(here: Path) -> None:
    program = here / "true"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    fd = open_(program, os.O_WRONLY)
    try:
        call("execve", lambda: os.execve(program, ["true"], {}), pathname=str(program))
    finally:
        os.close(fd)


def gone_directory(here: Path) -> None:
    (here / "gone").mkdir()
    os.chdir(here / "gone")
    (here / "gone").rmdir()
    linux.mkdir("new")


def mounted_inside(here: Path) -> None:
    (here / "point").mkdir()
    own_mounts()
    linux.mount("tmpfs", f"{here}/point", "tmpfs")
    call("rmdir", lambda: os.rmdir(here / "point"), path=f"{here}/point")


def still_full(here: Path) -> None:
    (here / "file").touch()
    call("rmdir", lambda: os.rmdir(here), path=str(here))


def across(here: Path) -> None:
    (here / "point").mkdir()
    (here / "file").touch()
    own_mounts()
    linux.mount("tmpfs", f"{here}/point", "tmpfs")
    arguments = {"oldpath": f"{here}/file", "newpath": f"{here}/point/file"}
    call("rename", lambda: os.rename(*arguments.values()), **arguments)


def executed(here: Path, content: bytes, mode: int = 0o755) -> None:
    program = here / "program"
    program.write_bytes(content)
    program.chmod(mode)
    call("execve", lambda: os.execve(program, ["program"], {}), pathname=str(program))


def on_noexec(here: Path) -> None:
    mounted(here, Mount.NOEXEC)
    executed(here, b"#!/bin/sh\n")


def without_loader(here: Path) -> None:
    executed(here, Path("/bin/true").read_bytes().replace(b"/lib64/ld-linux", b"/lib65/ld-linux"))


def pipe_without_reader(here: Path) -> None:
    os.mkfifo(here / "pipe")
    open_(here / "pipe", os.O_WRONLY | os.O_NONBLOCK)


def opened_socket(here: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{here}/socket")
        open_(here / "socket")


def node_without_driver(here: Path) -> None:
    mounted(here)
    linux.mknod(f"{here}/node", 0o020666, os.makedev(250, 200))
    open_(here / "node")


def over_255(here: Path) -> None:
    linux.mkdir(f"{here}/{'x' * 256}")


CASES: dict[str, tuple[Here, str, str]] = {
    "directory missing": (lambda here: linux.mkdir(f"{here}/a/b/c"), "ENOENT", r"/a does not exist, so nothing .* mkdir -p"),
    "file missing": (lambda here: open_(here / "file"), "ENOENT", "/file does not exist in .*, which is empty"),
    "link to nothing": (
        lambda here: ((here / "link").symlink_to("/nowhere"), open_(here / "link" / "file")),
        "ENOENT",
        "is a symbolic link to /nowhere, which does not exist",
    ),
    "working directory removed": (gone_directory, "ENOENT", "working directory was removed"),
    "file on the way": (
        lambda here: ((here / "f").touch(), open_(here / "f" / "g")),
        "ENOTDIR",
        "/f is a file: nothing can be below",
    ),
    "file in place of a directory": (
        lambda here: ((here / "f").touch(), linux.chdir(f"{here}/f")),
        "ENOTDIR",
        "/f is a file, and the call wants a directory",
    ),
    "ring of links": (ring, "ELOOP", r"in a ring: \S+/a → \S+/b → \S+/a"),
    "link that is not followed": (
        no_follow,
        "ELOOP",
        "is a symbolic link to /etc/hostname, and the call was told to follow none",
    ),
    "directory that may not be searched": (closed_directory, "EACCES", r"/closed \(drwx------, of user 0.* lacks x"),
    "file that may not be read": (closed_file, "EACCES", r"/mine \(-rw-------.* may not be read by user 65534"),
    "directory that may not be changed": (closed_for_writing, "EACCES", r"may not be written by user 65534"),
    "device on nodev": (device_on_nodev, "EACCES", "/null is a device, and .* is mounted with nodev"),
    "name taken": (lambda here: linux.mkdir(str(here)), "EEXIST", "exists already, as a directory"),
    "name taken by a link": (
        lambda here: ((here / "l").symlink_to("/x"), linux.symlink("/y", f"{here}/l")),
        "EEXIST",
        "as a symbolic link to /x",
    ),
    "name too long": (over_255, "ENAMETOOLONG", "has 256 bytes, and 255 is the most"),
    "directory in place of a file": (
        lambda here: open_(here, os.O_WRONLY),
        "EISDIR",
        "is a directory, and the call wants a file",
    ),
    "directory not empty": (still_full, "ENOTEMPTY", "still holds file"),
    "other filesystem": (across, "EXDEV", r"/point \(tmpfs\): copy it instead"),
    "mount point": (mounted_inside, "EBUSY", "something is mounted there: .*/point"),
    "read-only mount": (read_only_mount, "EROFS", r"\(tmpfs\) is mounted read-only here"),
    "read-only filesystem": (read_only_filesystem, "EROFS", "read-only"),
    "full filesystem": (full, "ENOSPC", r"\(tmpfs, 65536 bytes\) is full"),
    "no inodes left": (out_of_inodes, "ENOSPC", r"\(tmpfs, 3 files\) has no inode left"),
    "too many open": (many_open, "EMFILE", r"may have 20 files open \(hard limit 20\)"),
    "file too large": (too_large, "EFBIG", "no file may grow above 10 bytes"),
    "written while run": (written_while_run, "ETXTBSY", r"is being run.*: \d+ \(sleep\): exe"),
    "run while written": (run_while_written, "ETXTBSY", r"is open for writing: \d+ \(.*, this process\): fd"),
    "script without interpreter": (
        lambda here: executed(here, b"#!/bin/nosh\n"),
        "ENOENT",
        "first line names '/bin/nosh', which is not",
    ),
    "script from Windows": (lambda here: executed(here, b"#!/bin/sh\r\n"), "ENOENT", "a file from Windows"),
    "program without loader": (without_loader, "ENOENT", "its loader is '.*/lib65/ld-linux.*', which is not"),
    "program without x": (lambda here: executed(here, b"#!/bin/sh\n", 0o644), "EACCES", "no x in -rw-r--r--"),
    "program on noexec": (on_noexec, "EACCES", "which is mounted with noexec"),
    "directory executed": (
        lambda here: call("execve", lambda: os.execve(here, ["x"], {}), pathname=str(here)),
        "EACCES",
        "is not a file, and only files",
    ),
    "no program": (lambda here: executed(here, b"hello\n"), "ENOEXEC", "neither a program for this machine nor a script"),
    "empty program": (lambda here: executed(here, b""), "ENOEXEC", "is empty"),
    "arguments too long": (
        lambda here: call("execve", lambda: os.execve("/bin/true", ["x" * (1 << 18)], {}), pathname="/bin/true"),
        "E2BIG",
        "one word 128 KiB",
    ),
    "pipe without reader": (pipe_without_reader, "ENXIO", "is a pipe that nobody has open for reading"),
    "socket opened": (opened_socket, "ENXIO", "is a socket: connect"),
    "device without driver": (node_without_driver, "ENXIO", "no driver answers for device 250:200"),
    "closed descriptor": (lambda here: linux.fchdir(999), "EBADF", "no file is open as descriptor 999"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_cause_that_lies_in_a_path_is_found(name: str, tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    act, symbol, pattern = CASES[name]
    says(lambda: act(tmp_path), symbol, pattern)


def test_a_path_below_an_open_directory_is_walked_from_there(tmp_path: Path) -> None:
    def act() -> None:
        fd = os.open(tmp_path, os.O_PATH)
        linux.openat2(fd, "/a/b", os.O_RDONLY, resolve=linux.Resolve.IN_ROOT)

    says(act, "ENOENT", "/a does not exist")
