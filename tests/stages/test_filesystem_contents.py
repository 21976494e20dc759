"""What programs expect to find in a root filesystem, and what they must not see or change there."""

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from scratchlab.errors import StageError
from scratchlab.journal import Journal
from scratchlab.stages.filesystem import LINKS, MASKED, NODES, READONLY, bind, devices, mask, pivot, readonly, tmpfs
from scratchlab.stages.id_maps import map_ids
from scratchlab.stages.kernel_files import proc, sysfs
from scratchlab.stages.namespaces import unshare_ipc, unshare_net, unshare_pid, unshare_user
from scratchlab.stages.stage import Target
from tests.conftest import in_child, needs_root
from tests.stages.filesystem_lab import own_mounts, writable

pytestmark = needs_root


# -- what programs expect to find -------------------------------------------------------------------------------------


def inhabited(tiny_root: Path) -> Callable[[], Sequence[str]]:
    """The stages up to a root filesystem that programs can live in."""

    def act() -> Sequence[str]:
        unshare_net()
        unshare_ipc()
        unshare_pid()
        own_mounts()
        pivot(str(tiny_root))
        proc()
        sysfs()
        return devices()

    return act


def test_proc_and_sys_show_this_sandbox(tiny_root: Path) -> None:
    def act() -> tuple[list[str], list[str]]:
        inhabited(tiny_root)()
        return [name for name in os.listdir("/proc") if name.isdigit()], os.listdir("/sys/class/net")

    pids, links = in_child(act)
    assert pids == ["1"]
    assert set(links) <= {"lo", "tunl0", "sit0", "ip6tnl0", "bonding_masters"}


def test_sys_cannot_be_written_and_shows_no_control_groups(tiny_root: Path) -> None:
    def act() -> tuple[list[str], bool]:
        inhabited(tiny_root)()
        return os.listdir("/sys/fs/cgroup"), writable(Path("/sys"))

    assert in_child(act) == ([], False)


def test_dev_holds_the_harmless_devices_and_nothing_of_the_host(tiny_root: Path) -> None:
    def act() -> tuple[list[str], list[tuple[int, int, int]], list[str], bytes]:
        inhabited(tiny_root)()
        nodes = [os.stat(f"/dev/{name}") for name in NODES]
        shown = [(os.major(node.st_rdev), os.minor(node.st_rdev), stat.S_IMODE(node.st_mode)) for node in nodes]
        with open("/dev/zero", "rb") as zero:
            return sorted(os.listdir("/dev")), shown, [os.readlink(f"/dev/{name}") for name in LINKS], zero.read(4)

    names, nodes, links, zeros = in_child(act)
    assert names == sorted([*NODES, *LINKS, "pts", "shm", "mqueue"])
    assert nodes == [(*numbers, 0o666) for numbers in NODES.values()]
    assert links == list(LINKS.values())
    assert zeros == bytes(4)
    assert os.listdir(tiny_root / "dev") == []


def test_terminals_shared_memory_and_queues_work_and_are_not_the_hosts(tiny_root: Path) -> None:
    terminals = os.listdir("/dev/pts")

    def act() -> tuple[str, int, int]:
        inhabited(tiny_root)()
        control = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
        Path("/dev/shm/file").write_text("x")
        libc = ctypes.CDLL(None, use_errno=True)
        queue = libc.mq_open(b"/queue", os.O_CREAT | os.O_RDWR, 0o600, None)
        assert os.listdir("/dev/mqueue") == ["queue"]
        return os.ptsname(control) if hasattr(os, "ptsname") else "/dev/pts/0", queue, stat.S_IMODE(os.stat("/dev/pts/0").st_mode)

    name, queue, mode = in_child(act)
    assert (name, mode) == ("/dev/pts/0", 0o620)
    assert queue >= 0
    assert os.listdir("/dev/pts") == terminals
    assert not Path("/dev/shm/file").exists()


def test_devices_reports_nothing_refused_on_a_whole_kernel(tiny_root: Path) -> None:
    assert in_child(inhabited(tiny_root)) == []


@pytest.mark.parametrize("into_root", [True, False])
def test_in_a_user_namespace_devices_binds_the_hosts_nodes(tiny_root: Path, into_root: bool) -> None:
    def act() -> tuple[int, bytes]:
        mapped_user_namespace()
        unshare_ipc()
        own_mounts()
        if into_root:
            devices(root=str(tiny_root))
            pivot(str(tiny_root))
        else:
            devices()
        with open("/dev/zero", "rb") as zero:
            return os.major(os.stat("/dev/null").st_rdev), zero.read(2)

    assert in_child(act) == (1, b"\0\0")


def test_in_a_user_namespace_after_pivot_devices_says_to_come_earlier(tiny_root: Path) -> None:
    def act() -> None:
        mapped_user_namespace()
        unshare_ipc()
        own_mounts()
        pivot(str(tiny_root))
        devices()

    with pytest.raises(StageError, match="before pivot"):
        in_child(act)


def mapped_user_namespace() -> None:
    """A user namespace in which we are root, mapped by a helper who stayed outside, as the keeper does."""
    ready, done = os.pipe()
    pid = os.getpid()
    helper = os.fork()
    if helper == 0:
        os.read(ready, 1)
        map_ids(Target(pid, Journal(Path("/nonexistent/test.journal"))))
        os._exit(0)
    unshare_user()
    os.write(done, b"x")
    assert os.waitpid(helper, 0)[1] == 0


# -- what must not be seen or changed ---------------------------------------------------------------------------------


def test_masked_files_read_as_empty_and_masked_directories_have_no_entries(tiny_root: Path) -> None:
    def act() -> tuple[list[bytes], list[list[str]], bool]:
        inhabited(tiny_root)()
        mask()
        there = [path for path in MASKED if os.path.exists(path)]
        files = [Path(path).read_bytes() for path in there if not os.path.isdir(path)]
        return files, [os.listdir(path) for path in there if os.path.isdir(path)], writable(Path("/sys/firmware"))

    files, directories, firmware = in_child(act)
    assert files and set(files) == {b""}
    assert directories and all(names == [] for names in directories)
    assert firmware is False
    assert Path("/proc/interrupts").read_bytes()


def test_mask_skips_what_is_missing_and_refuses_without_a_null_device(tiny_root: Path) -> None:
    in_child(lambda: (own_mounts(), mask("/proc/no/such/file")))
    with pytest.raises(StageError, match="apply devices"):
        in_child(lambda: (own_mounts(), pivot(str(tiny_root)), mask()))


def test_read_only_files_of_proc_can_be_read_and_not_written(tiny_root: Path) -> None:
    def act() -> tuple[list[bool], str, int | None]:
        inhabited(tiny_root)()
        readonly()
        try:
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        except OSError as error:
            refused = error.errno
        return (
            [writable(Path(path)) for path in READONLY if os.path.exists(path)],
            Path("/proc/sys/net/ipv4/ip_forward").read_text(),
            refused,
        )

    states, text, refused = in_child(act)
    assert not any(states)
    assert text in ("0\n", "1\n")
    assert refused == errno.EROFS


def test_a_read_only_root_leaves_what_is_mounted_in_it_writable(tiny_root: Path) -> None:
    def act() -> list[bool]:
        inhabited(tiny_root)()
        tmpfs("/tmp")
        readonly("/")
        return [writable(Path(path)) for path in ("/", "/etc", "/tmp", "/dev/shm")]

    assert in_child(act) == [False, False, True, True]
    assert writable(tiny_root)


def test_a_read_only_mount_cannot_be_made_writable_by_binding_it_again(tmp_path: Path) -> None:
    def act() -> bool:
        own_mounts()
        readonly(str(tmp_path))
        (target := tmp_path.parent / "again").mkdir(exist_ok=True)
        bind(str(tmp_path), str(target))
        return writable(target)

    assert in_child(act) is False
