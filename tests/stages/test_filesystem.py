"""The filesystem, from both sides: what a process in its own root can name, and that the host sees none of it."""

import ctypes
import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from scratchlab import linux
from scratchlab.errors import InputError, KernelError, StageError
from scratchlab.journal import Journal
from scratchlab.linux import Mount, paths
from scratchlab.stages.filesystem import (
    LINKS,
    MASKED,
    NODES,
    READONLY,
    bind,
    chroot,
    devices,
    mask,
    mount_points,
    overlay,
    pivot,
    private_mounts,
    proc,
    readonly,
    sysfs,
    tmpfs,
)
from scratchlab.stages.namespaces import map_ids, unshare_ipc, unshare_mount, unshare_net, unshare_pid, unshare_user
from scratchlab.stages.stage import Target
from tests.conftest import held, in_child, needs_root

pytestmark = needs_root

PROGRAMS = ("sh", "ls", "cat", "mount", "id", "touch", "mkdir", "test", "stat")


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """The smallest root filesystem that can do something: one static program under several names."""
    root = tmp_path / "rootfs"
    for directory in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (root / directory).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for name in PROGRAMS:
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/inside").write_text("inside\n")
    return root


def own_mounts() -> None:
    unshare_mount()
    private_mounts()


def output(*command: str) -> str:
    """What a program prints, for where the standard library may be out of reach."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        os.execv(command[0], command)
    os.close(writer)
    with open(reader, "rb") as stream:
        text = stream.read().decode()
    os.wait()
    return text


def mounted_at(path: str, pid: int | str = "self") -> list[str]:
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return [line for line in lines if line.split()[4] == path]


# -- the mount table --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("apart", "seen"), [(False, True), (True, False)])
def test_a_mount_travels_to_the_host_until_mounts_are_private(tmp_path: Path, apart: bool, seen: bool) -> None:
    def machine() -> bool:
        own_mounts()
        private_mounts("shared")  # as systemd leaves a machine

        def sandbox() -> None:
            unshare_mount()
            if apart:
                private_mounts()
            tmpfs(str(tmp_path))

        with held(sandbox) as pid:
            assert mounted_at(str(tmp_path), pid)
            return bool(mounted_at(str(tmp_path)))

    assert in_child(machine) is seen


def test_slave_mounts_let_the_hosts_later_mounts_in_and_none_out(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()

    def machine() -> tuple[int, int]:
        own_mounts()
        private_mounts("shared")

        def sandbox() -> None:
            unshare_mount()
            private_mounts("slave")
            tmpfs(str(theirs))

        with held(sandbox) as pid:
            tmpfs(str(ours))
            return len(mounted_at(str(ours), pid)), len(mounted_at(str(theirs)))

    assert in_child(machine) == (1, 0)


def test_an_unknown_propagation_is_refused() -> None:
    with pytest.raises(InputError, match="slave"):
        in_child(lambda: (unshare_mount(), private_mounts("open")))


def test_bind_shows_a_directory_at_a_second_place_and_only_inside(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "file").write_text("here")

    with held(lambda: (own_mounts(), bind(str(source), str(target)))) as pid:
        inside = Path(f"/proc/{pid}/root{target}/file").read_text()

    assert inside == "here"
    assert list(target.iterdir()) == []


def test_a_read_only_bind_is_read_only_in_the_mounts_below_it_too(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "below").mkdir(parents=True)
    target.mkdir()

    def act() -> list[bool]:
        own_mounts()
        tmpfs(str(source / "below"))
        bind(str(source), str(target), readonly=True)
        return [writable(path) for path in (target, target / "below", source, source / "below")]

    assert in_child(act) == [False, False, True, True]


def test_a_read_only_bind_keeps_the_flags_that_the_mount_had(tmp_path: Path) -> None:
    def act() -> list[str]:
        own_mounts()
        tmpfs(str(tmp_path))
        (tmp_path / "source").mkdir()
        (tmp_path / "target").mkdir()
        bind(str(tmp_path / "source"), str(tmp_path / "target"), readonly=True)
        (line,) = mounted_at(str(tmp_path / "target"))
        return line.split()[5].split(",")

    assert {"ro", "nosuid", "nodev"} <= set(in_child(act))


def test_bind_without_recursive_leaves_the_mounts_below_behind(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "below").mkdir(parents=True)
    target.mkdir()

    def act(recursive: bool) -> list[str]:
        own_mounts()
        tmpfs(str(source / "below"))
        (source / "below/file").touch()
        bind(str(source), str(target), recursive=recursive)
        return os.listdir(target / "below")

    assert in_child(lambda: act(True)) == ["file"]
    assert in_child(lambda: act(False)) == []


def test_bind_takes_single_files(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("new")
    (tmp_path / "target").write_text("old")

    def act() -> str:
        own_mounts()
        bind(str(tmp_path / "source"), str(tmp_path / "target"), True)
        return (tmp_path / "target").read_text()

    assert in_child(act) == "new"
    assert (tmp_path / "target").read_text() == "old"


def test_bind_says_which_end_is_missing_or_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    here, file, missing = str(tmp_path), str(tmp_path / "file"), str(tmp_path / "missing")

    for source, target, message in [(missing, here, "missing does not exist, so"), (here, missing, "mount_points")]:
        with pytest.raises(InputError, match=message):
            in_child(lambda s=source, t=target: (own_mounts(), bind(s, t)))
    with pytest.raises(KernelError, match="the other is not"):
        in_child(lambda: (own_mounts(), bind(here, file)))


def test_a_link_in_the_root_filesystem_does_not_lead_a_mount_out_of_it(rootfs: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.rmtree(rootfs / "dev")
    (rootfs / "dev").symlink_to(outside)  # there is none in the root filesystem …
    (rootfs / "up").symlink_to("../../../../../../../etc")  # … and /etc there is not ours

    def act() -> tuple[list[str], list[str]]:
        own_mounts()
        tmpfs("/up", root=str(rootfs))
        with pytest.raises(InputError, match="only what exists"):
            devices(root=str(rootfs))
        return os.listdir(rootfs / "etc"), os.listdir(outside)

    etc = os.listdir("/etc")
    assert in_child(act) == ([], [])
    assert os.listdir("/etc") == etc


def test_overlay_reads_through_and_writes_to_the_upper_layer(tmp_path: Path) -> None:
    names = ["one", "two:with,odd\\name", "upper", "work", "merged"]
    one, two, upper, work, merged = (tmp_path / name for name in names)
    for path in (one, two, upper, work, merged):
        path.mkdir()
    (one / "both").write_text("top")
    (two / "both").write_text("bottom")
    (two / "below").write_text("below")

    def act() -> tuple[str, str]:
        own_mounts()
        overlay([str(one), str(two)], str(upper), str(work), str(merged))
        read = (merged / "both").read_text(), (merged / "below").read_text()
        (merged / "below").write_text("changed")
        return read

    assert in_child(act) == ("top", "below")
    assert (upper / "below").read_text() == "changed"
    assert (two / "below").read_text() == "below"
    assert list(merged.iterdir()) == []


def test_overlay_refuses_a_missing_layer_and_more_than_a_page_of_options(tmp_path: Path) -> None:
    here = str(tmp_path)
    with pytest.raises(InputError, match="nowhere is not a directory"):
        in_child(lambda: (own_mounts(), overlay("/nowhere", here, here, here)))
    with pytest.raises(InputError, match="above one page"):
        in_child(lambda: (own_mounts(), overlay([here] * 4096, here, here, here)))


def test_tmpfs_holds_what_it_was_given_and_no_more(tmp_path: Path) -> None:
    def act() -> tuple[int, int, int | None]:
        own_mounts()
        tmpfs(str(tmp_path), "1M", 0o700)
        found = os.statvfs(tmp_path)
        try:
            (tmp_path / "big").write_bytes(bytes(2 << 20))
        except OSError as error:
            return found.f_blocks * found.f_frsize, stat.S_IMODE(tmp_path.stat().st_mode), error.errno
        return 0, 0, None

    assert in_child(act) == (1 << 20, 0o700, errno.ENOSPC)


@pytest.mark.parametrize("size", ["", "lots", "-1", "1M,mode=4777", "1T"])
def test_tmpfs_refuses_what_is_no_size(size: str) -> None:
    with pytest.raises(InputError, match="not a size"):
        in_child(lambda: (own_mounts(), tmpfs("/tmp", size)))


# -- the root ---------------------------------------------------------------------------------------------------------


def break_out() -> list[str]:
    """The classic: a second chroot leaves the working directory above the root, and `..` does the rest."""
    os.mkdir("/tmp/deeper")
    os.chroot("/tmp/deeper")
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    return sorted(os.listdir("/"))


def test_a_second_chroot_leaves_a_chroot(rootfs: Path) -> None:
    assert in_child(lambda: (unshare_mount(), chroot(str(rootfs)), break_out())[2]) == sorted(os.listdir("/"))


def test_a_second_chroot_does_not_leave_a_pivoted_root(rootfs: Path) -> None:
    assert in_child(lambda: (own_mounts(), pivot(str(rootfs)), break_out())[2]) == sorted(os.listdir(rootfs))


def test_after_pivot_no_mount_of_the_host_is_left(rootfs: Path) -> None:
    host = Path("/proc/self/mountinfo").read_text()

    with held(lambda: (own_mounts(), pivot(str(rootfs)))) as pid:
        inside = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
        root, cwd = os.readlink(f"/proc/{pid}/root"), os.readlink(f"/proc/{pid}/cwd")
        files = os.listdir(f"/proc/{pid}/root")

    assert [line.split()[4] for line in inside] == ["/"]
    assert (root, cwd) == ("/", "/")
    assert sorted(files) == sorted(os.listdir(rootfs))
    assert Path("/proc/self/mountinfo").read_text() == host


def test_pivot_takes_along_what_is_mounted_below_the_new_root(rootfs: Path) -> None:
    def act() -> str:
        own_mounts()
        bind("/etc", "/tmp", True, root=str(rootfs))
        pivot(str(rootfs))
        return output("/bin/ls", "-A", "/tmp")

    assert in_child(act).splitlines() == sorted(os.listdir("/etc"))


def test_pivot_works_by_a_relative_path_and_on_an_overlay(rootfs: Path, tmp_path: Path) -> None:
    for name in ("upper", "work", "merged"):
        (tmp_path / name).mkdir()

    def act() -> str:
        own_mounts()
        overlay(str(rootfs), str(tmp_path / "upper"), str(tmp_path / "work"), str(tmp_path / "merged"))
        os.chdir(tmp_path)
        pivot("merged")
        return output("/bin/touch", "/new") + output("/bin/cat", "/etc/inside")

    assert in_child(act) == "inside\n"
    assert (tmp_path / "upper/new").exists()
    assert not (rootfs / "new").exists()


def test_pivot_and_chroot_refuse_what_cannot_be_a_root(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for stage in (pivot, chroot):
        for path, message in [("missing", "does not exist"), ("file", "is not a directory")]:
            with pytest.raises(InputError, match=message):
                in_child(lambda s=stage, p=path: (own_mounts(), s(str(tmp_path / p))))
    with pytest.raises(InputError, match="already"):
        in_child(lambda: (own_mounts(), pivot("/")))


def test_pivot_before_private_mounts_says_what_to_do(rootfs: Path) -> None:
    def act() -> None:
        own_mounts()
        private_mounts("shared")
        pivot(str(rootfs))

    with pytest.raises(KernelError, match="private_mounts"):
        in_child(act)


# -- what programs expect to find -------------------------------------------------------------------------------------


def inhabited(rootfs: Path) -> Callable[[], Sequence[str]]:
    """The stages up to a root filesystem that programs can live in."""

    def act() -> Sequence[str]:
        unshare_net()
        unshare_ipc()
        unshare_pid()
        own_mounts()
        pivot(str(rootfs))
        proc()
        sysfs()
        return devices()

    return act


def test_proc_and_sys_show_this_sandbox(rootfs: Path) -> None:
    def act() -> tuple[list[str], list[str]]:
        inhabited(rootfs)()
        return [name for name in os.listdir("/proc") if name.isdigit()], os.listdir("/sys/class/net")

    pids, links = in_child(act)
    assert pids == ["1"]
    assert set(links) <= {"lo", "tunl0", "sit0", "ip6tnl0", "bonding_masters"}


def test_sys_cannot_be_written_and_shows_no_control_groups(rootfs: Path) -> None:
    def act() -> tuple[list[str], bool]:
        inhabited(rootfs)()
        return os.listdir("/sys/fs/cgroup"), writable(Path("/sys"))

    assert in_child(act) == ([], False)


def test_dev_holds_the_harmless_devices_and_nothing_of_the_host(rootfs: Path) -> None:
    def act() -> tuple[list[str], list[tuple[int, int, int]], list[str], bytes]:
        inhabited(rootfs)()
        nodes = [os.stat(f"/dev/{name}") for name in NODES]
        shown = [(os.major(node.st_rdev), os.minor(node.st_rdev), stat.S_IMODE(node.st_mode)) for node in nodes]
        with open("/dev/zero", "rb") as zero:
            return sorted(os.listdir("/dev")), shown, [os.readlink(f"/dev/{name}") for name in LINKS], zero.read(4)

    names, nodes, links, zeros = in_child(act)
    assert names == sorted([*NODES, *LINKS, "pts", "shm", "mqueue"])
    assert nodes == [(*numbers, 0o666) for numbers in NODES.values()]
    assert links == list(LINKS.values())
    assert zeros == bytes(4)
    assert os.listdir(rootfs / "dev") == []


def test_terminals_shared_memory_and_queues_work_and_are_not_the_hosts(rootfs: Path) -> None:
    terminals = os.listdir("/dev/pts")

    def act() -> tuple[str, int, int]:
        inhabited(rootfs)()
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


def test_devices_reports_nothing_refused_on_a_whole_kernel(rootfs: Path) -> None:
    assert in_child(inhabited(rootfs)) == []


@pytest.mark.parametrize("into_root", [True, False])
def test_in_a_user_namespace_devices_binds_the_hosts_nodes(rootfs: Path, into_root: bool) -> None:
    def act() -> tuple[int, bytes]:
        mapped_user_namespace()
        unshare_ipc()
        own_mounts()
        if into_root:
            devices(root=str(rootfs))
            pivot(str(rootfs))
        else:
            devices()
        with open("/dev/zero", "rb") as zero:
            return os.major(os.stat("/dev/null").st_rdev), zero.read(2)

    assert in_child(act) == (1, b"\0\0")


def test_in_a_user_namespace_after_pivot_devices_says_to_come_earlier(rootfs: Path) -> None:
    def act() -> None:
        mapped_user_namespace()
        unshare_ipc()
        own_mounts()
        pivot(str(rootfs))
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


def test_masked_files_read_as_empty_and_masked_directories_have_no_entries(rootfs: Path) -> None:
    def act() -> tuple[list[bytes], list[list[str]], bool]:
        inhabited(rootfs)()
        mask()
        there = [path for path in MASKED if os.path.exists(path)]
        files = [Path(path).read_bytes() for path in there if not os.path.isdir(path)]
        return files, [os.listdir(path) for path in there if os.path.isdir(path)], writable(Path("/sys/firmware"))

    files, directories, firmware = in_child(act)
    assert files and set(files) == {b""}
    assert directories and all(names == [] for names in directories)
    assert firmware is False
    assert Path("/proc/interrupts").read_bytes()


def test_mask_skips_what_is_missing_and_refuses_without_a_null_device(rootfs: Path) -> None:
    in_child(lambda: (own_mounts(), mask("/proc/no/such/file")))
    with pytest.raises(StageError, match="apply devices"):
        in_child(lambda: (own_mounts(), pivot(str(rootfs)), mask()))


def test_read_only_files_of_proc_can_be_read_and_not_written(rootfs: Path) -> None:
    def act() -> tuple[list[bool], str, int | None]:
        inhabited(rootfs)()
        readonly()
        try:
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        except OSError as error:
            refused = error.errno
        return [writable(Path(path)) for path in READONLY if os.path.exists(path)], Path("/proc/sys/net/ipv4/ip_forward").read_text(), refused

    states, text, refused = in_child(act)
    assert not any(states)
    assert text in ("0\n", "1\n")
    assert refused == errno.EROFS


def test_a_read_only_root_leaves_what_is_mounted_in_it_writable(rootfs: Path) -> None:
    def act() -> list[bool]:
        inhabited(rootfs)()
        tmpfs("/tmp")
        readonly("/")
        return [writable(Path(path)) for path in ("/", "/etc", "/tmp", "/dev/shm")]

    assert in_child(act) == [False, False, True, True]
    assert writable(rootfs)


def test_a_read_only_mount_cannot_be_made_writable_by_binding_it_again(tmp_path: Path) -> None:
    def act() -> bool:
        own_mounts()
        readonly(str(tmp_path))
        (target := tmp_path.parent / "again").mkdir(exist_ok=True)
        bind(str(tmp_path), str(target))
        return writable(target)

    assert in_child(act) is False


def writable(path: Path) -> bool:
    return not os.statvfs(path).f_flag & os.ST_RDONLY


# -- mount points -----------------------------------------------------------------------------------------------------


def machine() -> None:
    """A machine of the test's own, with an empty /run: what our journals say there concerns nobody else."""
    own_mounts()
    unshare_net()
    linux.mount("tmpfs", "/run", "tmpfs", Mount(0), "mode=755")


def test_missing_mount_points_are_made_and_gone_with_the_last_container_that_needs_them(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()

    def act() -> list[list[str]]:
        machine()
        seen = []
        one, two = (Target(os.getpid(), Journal.claim(name)) for name in ("one", "two"))
        for target in (one, two):
            mount_points(target, str(tmp_path), "/proc", "/etc/resolv.conf:file", "/a/b/c")
        for target in (one, two):
            seen.append(tree(tmp_path))
            target.journal.close()
        return [*seen, tree(tmp_path)]

    made = ["a", "a/b", "a/b/c", "etc", "etc/resolv.conf", "proc"]
    assert in_child(act) == [made, made, ["etc"]]


def test_a_mount_point_that_was_there_or_is_used_meanwhile_stays(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()

    def act() -> None:
        machine()
        target = Target(os.getpid(), Journal.claim("one"))
        mount_points(target, str(tmp_path), "/proc", "/data", "/file:file")
        (tmp_path / "data/kept").touch()
        (tmp_path / "file").write_text("kept")
        target.journal.close()

    in_child(act)
    assert tree(tmp_path) == ["data", "data/kept", "file", "proc"]


def test_mount_points_are_made_where_links_lead_inside_the_root_filesystem(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "usr").mkdir(parents=True)
    outside.mkdir()
    (root / "lib").symlink_to("/usr/lib")
    (root / "escape").symlink_to("../../outside")
    (root / "absolute").symlink_to(str(outside))

    def act() -> list[str]:
        machine()
        target = Target(os.getpid(), Journal.claim("one"))
        mount_points(target, str(root), "/lib/data", "/escape/x", "/absolute/y", "../../z")
        made = tree(root)
        target.journal.close()
        return made

    made = in_child(act)
    assert {"usr/lib/data", "outside/x", f"{str(outside)[1:]}/y", "z"} <= set(made)
    assert tree(outside) == []
    assert tree(root) == ["absolute", "escape", "lib", "usr"]


def test_a_ring_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InputError, match="40 links"):
        paths.resolve(str(tmp_path), "/a/x")


@pytest.mark.parametrize("path", ["/lib", "lib/../lib", "/escape/x", "/absolute", "/../../etc", "/a/./b//c", "/lib/.."])
def test_resolve_agrees_with_the_kernel(tmp_path: Path, path: str) -> None:
    for directory in ("usr/lib", "outside/x", "etc", "a/b/c"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "lib").symlink_to("/usr/lib")
    (tmp_path / "escape").symlink_to("../../outside")
    (tmp_path / "absolute").symlink_to("/usr/../usr/lib")

    with paths.pinned(path, str(tmp_path)) as place:
        assert os.readlink(place) == paths.resolve(str(tmp_path), path)


def tree(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))


def test_findmnt_agrees_on_what_is_mounted(rootfs: Path) -> None:
    with held(lambda: (own_mounts(), proc("/proc", root=str(rootfs)), tmpfs("/tmp", root=str(rootfs)))) as pid:
        command = ["findmnt", "--task", str(pid), "--list", "--noheadings", "--output", "TARGET,FSTYPE"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")

    shown = [line.split() for line in lines if str(rootfs) in line]
    assert shown == [[f"{rootfs}/proc", "proc"], [f"{rootfs}/tmp", "tmpfs"]]
