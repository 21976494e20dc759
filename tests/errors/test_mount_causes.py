"""Mounts: what is refused, by which rule, and who is in the way. Each is provoked for real, in a mount table of its own."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scratchlab import linux
from scratchlab.linux import At, Clone, Mount, MountAttr
from scratchlab.linux.syscalls import AT_FDCWD
from tests.conftest import held, needs, needs_root
from tests.errors.filters import refuse
from tests.errors.provoked import nobody, own_mounts, own_user_namespace, says, without_capabilities

pytestmark = needs_root

Here = Callable[[str], object]


def tmpfs(path: str, flags: Mount = Mount(0)) -> None:
    linux.mount("tmpfs", path, "tmpfs", flags)


def bound(path: str) -> None:
    linux.mount(path, path, None, Mount.BIND)


def working_there(here: str) -> None:
    tmpfs(here)
    os.chdir(here)
    linux.umount2(here)


def file_open_there(here: str) -> None:
    tmpfs(here)
    Path(f"{here}/file").touch()
    keep = os.open(f"{here}/file", os.O_RDONLY)
    try:
        linux.umount2(here)
    finally:
        os.close(keep)


def mounted_below(here: str) -> None:
    tmpfs(here)
    linux.mkdir(f"{here}/below")
    tmpfs(f"{here}/below")
    linux.umount2(here)


def old_root_in_use(here: str) -> None:
    bound(here)
    linux.mkdir(f"{here}/old")
    linux.pivot_root(here, f"{here}/old")
    linux.umount2("/old")


def read_only_while_written(here: str) -> None:
    tmpfs(here)
    keep = os.open(f"{here}/file", os.O_CREAT | os.O_WRONLY)
    try:
        linux.mount(None, here, None, Mount.REMOUNT | Mount.RDONLY)
    finally:
        os.close(keep)


def pivot_to_shared(here: str) -> None:
    bound(here)
    linux.mount(None, here, None, Mount.SHARED)
    linux.mkdir(f"{here}/old")
    linux.pivot_root(here, f"{here}/old")


def pivot_to_no_mount_point(here: str) -> None:
    tmpfs(here)
    linux.mkdir(f"{here}/new")
    linux.pivot_root(f"{here}/new", f"{here}/new")


def pivot_with_old_elsewhere(here: str) -> None:
    bound(here)
    linux.pivot_root(here, "/var")


def unbindable(here: str) -> None:
    tmpfs(here)
    linux.mount(None, here, None, Mount.UNBINDABLE)
    linux.mkdir(f"{here}/x")
    linux.mount(here, f"{here}/x", None, Mount.BIND)


def move_out_of_shared(here: str) -> None:
    tmpfs(here)
    linux.mount(None, here, None, Mount.SHARED)
    for name in ("a", "b"):
        linux.mkdir(f"{here}/{name}")
    tmpfs(f"{here}/a")
    linux.mount(f"{here}/a", f"{here}/b", None, Mount.MOVE)


def too_many(here: str) -> None:
    tmpfs(here)
    for number in range(40):  # each doubles what is there
        linux.mkdir(f"{here}/{number}")
        linux.mount(here, f"{here}/{number}", None, Mount.BIND | Mount.REC)


def overlay(**changed: str) -> Here:
    def act(here: str) -> None:
        tmpfs(here)
        for name in ("lower", "upper", "work", "upper/work", "other"):
            linux.mkdir(f"{here}/{name}")
        tmpfs(f"{here}/other")
        linux.mkdir(f"{here}/other/work")
        layers = {"lowerdir": "lower", "upperdir": "upper", "workdir": "work", **changed}
        linux.mount(
            "overlay", here, "overlay", Mount(0), ",".join(f"{key}={here}/{value}" for key, value in layers.items() if value)
        )

    return act


def in_user_namespace(act: Here, *more: Clone) -> Here:
    return lambda here: (own_user_namespace(Clone.NEWNS, *more), act(here))


def locked_flags(here: str) -> None:
    tmpfs(here, Mount.NOSUID | Mount.NODEV | Mount.RDONLY)
    own_user_namespace(Clone.NEWNS)
    linux.mount(None, here, None, Mount.REMOUNT | Mount.BIND)


def locked_mount(here: str) -> None:
    tmpfs(here)
    own_user_namespace(Clone.NEWNS)
    linux.umount2(here)


def translated(_here: str) -> None:
    tree = linux.open_tree(AT_FDCWD, "/proc", linux.OpenTree.CLONE | linux.OpenTree.CLOEXEC)
    with held(own_user_namespace) as pid:
        owner = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
        linux.mount_setattr("", At.EMPTY_PATH, MountAttr.IDMAP, userns_fd=owner, dirfd=tree)


def filtered(here: str) -> None:
    refuse("mount_setattr", 38)
    linux.mount_setattr(here, At(0), MountAttr.RDONLY)


CASES: dict[str, tuple[Here, str, str]] = {
    "unknown filesystem": (lambda here: linux.mount("x", here, "nosuchfs"), "ENODEV", "no filesystem 'nosuchfs'"),
    "file on a directory": (
        lambda here: linux.mount("/etc/hostname", here, None, Mount.BIND),
        "ENOTDIR",
        "/etc/hostname is a file, and .* is a directory",
    ),
    "source missing": (lambda here: linux.mount("/nowhere/x", here, None, Mount.BIND), "ENOENT", "/nowhere does not exist"),
    "no disk": (lambda here: linux.mount("/dev/null", here, "ext4"), "ENOTBLK", "/dev/null is no block device"),
    "unknown option": (lambda here: linux.mount("t", here, "tmpfs", Mount(0), "colour=red"), "EINVAL", "options.*: colour=red"),
    "remount of no mount": (
        lambda here: linux.mount(None, here, None, Mount.REMOUNT | Mount.BIND | Mount.RDONLY),
        "EINVAL",
        "is not a mount point, so there is nothing to remount",
    ),
    "propagation of no mount": (
        lambda here: linux.mount(None, here, None, Mount.PRIVATE),
        "EINVAL",
        "is not a mount point, so it has no propagation",
    ),
    "move of no mount": (lambda here: linux.mount(here, "/mnt", None, Mount.MOVE), "EINVAL", "only a mount can be moved"),
    "move out of a shared mount": (move_out_of_shared, "EINVAL", "lies in the shared mount"),
    "bind of an unbindable mount": (unbindable, "EINVAL", "is unbindable"),
    "umount of no mount": (linux.umount2, "EINVAL", "is not a mount point: it lies in the mount /"),
    "attributes of no mount": (
        lambda here: linux.mount_setattr(here, attr_set=MountAttr.RDONLY),
        "EINVAL",
        "is not a mount point: it lies in the mount /",
    ),
    "somebody works there": (working_there, "EBUSY", r"\d+ \(\S+, this process\): cwd"),
    "somebody has a file open": (file_open_there, "EBUSY", r"\d+ \(\S+, this process\): fd"),
    "something is mounted below": (mounted_below, "EBUSY", "something is mounted below it: .*/below"),
    "the old root, without a /proc": (old_root_in_use, "EBUSY", "no /proc here tells what.*DETACH does not mind"),
    "read-only while written": (read_only_while_written, "EBUSY", r"open for writing there: \d+ \(.*this process\): fd"),
    "pivot to no mount": (
        lambda here: linux.pivot_root(here, here),
        "EBUSY",
        "in the mount of the root itself.*bind-mount it on",
    ),
    "pivot to a directory in a mount": (pivot_to_no_mount_point, "EINVAL", "/new must be a mount point, and is not"),
    "pivot to a shared mount": (pivot_to_shared, "EINVAL", "is shared, and pivot_root would change it.*private_mounts first"),
    "pivot with the old root elsewhere": (pivot_with_old_elsewhere, "EBUSY", "/var must be .* itself or below it"),
    "overlay without lower": (overlay(lowerdir="nowhere"), "ENOENT", "the layer .*/nowhere does not exist"),
    "overlay without work": (overlay(workdir=""), "EINVAL", "an upperdir needs a workdir"),
    "overlay with work elsewhere": (overlay(workdir="other/work"), "EINVAL", "they must be in the same"),
    "overlay with upper in lower": (overlay(lowerdir="upper"), "ELOOP", "must not lie in each other"),
    "overlay with work in upper": (overlay(workdir="upper/work"), "EINVAL", "workdir must not be in upperdir"),
    "disk filesystem in a user namespace": (
        in_user_namespace(lambda here: linux.mount("/dev/loop0", here, "ext4")),
        "EPERM",
        "no user namespace mount ext4",
    ),
    "sysfs of the host's network": (
        in_user_namespace(lambda here: linux.mount("sysfs", here, "sysfs")),
        "EPERM",
        "sysfs shows a network namespace that belongs to another|would show what is covered",
    ),
    "locked flags": (locked_flags, "EPERM", "its flags .*nosuid.* are locked"),
    "locked mount": (locked_mount, "EINVAL", "came from a mount namespace above, and is locked"),
    "mount without rights": (
        lambda here: (without_capabilities(), linux.mount("t", here, "tmpfs")),
        "EPERM",
        "SYS_ADMIN is missing",
    ),
    "umount as an ordinary user": (
        lambda here: (nobody(), linux.umount2("/proc")),
        "EPERM",
        "SYS_ADMIN is missing: this process",
    ),
    "ids not translated": (translated, "EINVAL", "the filesystem of /.* does not translate ids"),
    "too many mounts": (too_many, "ENOSPC", r"holds \d{5,} mounts, and fs.mount-max is \d+"),
    "no such call": (filtered, "ENOSYS", "no mount_setattr: it came with Linux 5.12, or a seccomp filter says so"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_cause_that_lies_in_a_mount_is_found(name: str, tmp_path: Path) -> None:
    act, symbol, pattern = CASES[name]
    says(lambda: (own_mounts(), act(str(tmp_path))), symbol, pattern)


def test_another_process_that_holds_a_mount_is_named(tmp_path: Path) -> None:
    def act() -> None:
        own_mounts()
        tmpfs(str(tmp_path))
        with held(lambda: os.chdir(tmp_path)) as pid:
            signal.alarm(20)
            try:
                linux.umount2(str(tmp_path))
            except OSError as error:
                assert f"{pid} (" in str(error), str(error)
                raise

    says(act, "EBUSY", r"\d+ \(\S+\): cwd")


needs_a_disk = needs(
    shutil.which("mkfs.ext4") and shutil.which("losetup") and os.path.exists("/dev/loop-control"),
    "needs loop devices and mkfs.ext4",
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    """A small disk with a filesystem on it."""
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    made = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=True).stdout.strip()
    yield made
    subprocess.run(["losetup", "--detach", made], check=True)


@needs_a_disk
def test_a_disk_that_another_mount_namespace_holds_is_found_there(disk: str, tmp_path: Path) -> None:
    def there() -> None:
        own_mounts()
        linux.mount(disk, "/mnt", "ext4")

    with held(there) as pid:
        message = rf"{disk} is mounted already, by other flags: {pid} \(\S+\) at /mnt"
        says(lambda: (own_mounts(), linux.mount(disk, str(tmp_path), "ext4", Mount.RDONLY)), "EBUSY", message)


@needs_a_disk
def test_a_disk_that_holds_another_filesystem_is_told(disk: str, tmp_path: Path) -> None:
    other = next(
        name for name in Path("/proc/filesystems").read_text().split() if name in ("squashfs", "iso9660", "vfat", "ext2")
    )
    wiped = f"{disk} holds no {other} that the kernel can read"
    Path(disk).write_bytes(bytes(1 << 16))

    says(lambda: (own_mounts(), linux.mount(disk, str(tmp_path), other)), "EINVAL", wiped)
