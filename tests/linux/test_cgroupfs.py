"""Control groups on the real kernel, of whichever version this machine has."""

import errno
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from scratchlab.errors import HostError, InputError, KernelError
from scratchlab.linux import cgroupfs
from scratchlab.linux.cgroup_fork import fork_into
from tests.conftest import in_child, needs_root
from tests.linux.groups import NAME, TREES, fork_and, group, process, state, until

# -- where they are ---------------------------------------------------------------------------------------------------


def test_the_layout_is_what_findmnt_says() -> None:
    listed = subprocess.run(["findmnt", "-rnt", "cgroup,cgroup2", "-o", "TARGET"], capture_output=True, text=True, check=True)

    assert {hierarchy.mount for hierarchy in cgroupfs.layout().hierarchies} == set(listed.stdout.split())
    assert {"cpu", "memory", "pids", "io"} <= {c for hierarchy in cgroupfs.layout().hierarchies for c in hierarchy.controllers}


def test_processes_are_tracked_in_version_2_where_it_is_mounted() -> None:
    versions = {hierarchy.version for hierarchy in cgroupfs.layout().hierarchies}

    assert cgroupfs.layout().tracking.version == max(versions)


def test_a_controller_that_nobody_has_is_an_error_that_says_where_we_looked() -> None:
    with pytest.raises(HostError, match=r"no hierarchy .* has the gravity controller \(looked at: /"):
        cgroupfs.path_of("gravity", NAME)


# -- in and out -------------------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("tree", TREES)
def test_a_process_in_a_group_is_seen_there_from_both_sides(tree: str | None) -> None:
    with group(tree) as path, process(path) as pid:
        assert cgroupfs.procs(path) == [pid]
        assert path.endswith(f"/scratchlab/{NAME}")
        assert f"/scratchlab/{NAME}" in Path(f"/proc/{pid}/cgroup").read_text()
        assert NAME not in Path("/proc/self/cgroup").read_text()


@needs_root
def test_what_a_process_starts_is_born_in_its_group() -> None:
    with group() as path:

        def grandchild() -> str:
            cgroupfs.enter(path, os.getpid())
            return in_child(lambda: Path("/proc/self/cgroup").read_text())

        inside = in_child(grandchild)

    assert f"/scratchlab/{NAME}" in inside


@needs_root
def test_a_child_can_be_born_in_groups_of_several_trees() -> None:
    paths = list(dict.fromkeys(cgroupfs.create(tree, NAME) for tree in TREES))
    reader, writer = os.pipe()

    pid = fork_into(*paths)
    if pid == 0:
        os.write(writer, Path("/proc/self/cgroup").read_bytes() + f"{os.getpid()}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    inside = os.read(reader, 10_000).decode()
    for path in paths:
        cgroupfs.remove(path)
    os.close(reader)
    os.close(writer)

    assert inside.count(f"/scratchlab/{NAME}") == len(paths)
    assert inside.endswith(f"\n{pid}")


@needs_root
def test_a_group_that_is_gone_is_an_error_before_there_is_a_child() -> None:
    with group() as path:
        pass

    with pytest.raises(KernelError) as caught:
        fork_into(path)

    assert caught.value.errno == errno.ENOENT


@needs_root
def test_many_may_make_and_remove_groups_while_the_node_comes_and_goes() -> None:
    node = os.path.dirname(cgroupfs.path_of("freezer", NAME))  # a tree in which no other sandbox keeps the node alive

    def act() -> None:
        for number in range(100):
            cgroupfs.remove(cgroupfs.create("freezer", f"{NAME}-{os.getpid()}-{number}"))
            with suppress(OSError):
                os.rmdir(node)

    children = [fork_and(act) for _ in range(4)]

    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0, 0]
    assert not list(Path(node).glob(f"{NAME}-*"))


@needs_root
def test_the_last_group_takes_our_node_with_it() -> None:
    with group("freezer") as path:
        node = Path(path).parent

    # Other sandboxes of this machine may have groups in it.
    until(lambda: not node.exists() or any(entry.is_dir() for entry in node.iterdir()))


# -- taken back -------------------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("tree", TREES)
def test_removing_a_group_kills_what_is_in_it_even_what_ignores_signals_or_is_stopped(tree: str | None) -> None:
    path = cgroupfs.create(tree, NAME)
    with process(path, deaf) as one, process(path) as two:
        os.kill(two, signal.SIGSTOP)

        cgroupfs.remove(path)

        assert not os.path.exists(path)
        assert [state(one), state(two)] == ["Z", "Z"]


def deaf() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


@needs_root
@pytest.mark.parametrize("tree", ["pids", "cpu"])
def test_a_fork_bomb_does_not_outrun_its_removal(tree: str) -> None:
    path, limited, tracked = (cgroupfs.create(each, NAME) for each in (tree, "pids", None))
    cgroupfs.limit(limited, "pids.max", "100")

    def bomb() -> None:
        for place in {limited, tracked}:
            cgroupfs.enter(place, os.getpid())
        while True:
            with suppress(OSError):
                if os.fork() == 0:
                    os.setsid()

    with process(path, bomb):
        until(lambda: len(cgroupfs.procs(limited)) > 90)
        for place in (path, limited, tracked):
            cgroupfs.remove(place)

    assert not any(os.path.exists(place) for place in (path, limited, tracked))


@needs_root
def test_groups_that_the_sandbox_made_itself_go_too() -> None:
    path = cgroupfs.create(None, NAME)
    below = f"{path}/a/b"
    os.makedirs(below)
    os.mkdir(f"{path}/c")
    with process(below) as pid:
        assert cgroupfs.procs(path) == [pid]

        cgroupfs.remove(path)

        assert state(pid) == "Z"
    assert not os.path.exists(path)


@needs_root
def test_removing_what_is_gone_or_was_never_made_is_silent() -> None:
    with group() as path:
        pass

    cgroupfs.remove(path)
    cgroupfs.remove(cgroupfs.path_of("cpu", "never-made"))


@needs_root
@pytest.mark.parametrize("outside", ["{mount}/other", "{mount}/scratchlab", "{node}/../other", "{node}/x/../..", "/tmp"])
def test_nothing_outside_our_node_can_be_removed(outside: str) -> None:
    with group() as path:
        node = os.path.dirname(path)
        with pytest.raises(InputError, match="not a control group of ours"):
            cgroupfs.remove(outside.format(node=node, mount=os.path.dirname(node)))

        assert os.path.isdir(path)


@needs_root
def test_a_process_that_refuses_to_die_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroupfs, "PATIENCE", 0.3)
    disk, directory = root_disk()

    def write() -> None:
        fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_DIRECT, 0o600)
        import mmap

        os.write(fd, mmap.mmap(-1, 1 << 20))  # at 4 KB/s, and the kernel lets nobody interrupt it

    with group("io") as path:
        cgroupfs.limit(path, "io.max", f"{disk} wbps=4096")
        with process(path, write) as pid:
            until(lambda: state(pid) == "D")
            with pytest.raises(KernelError) as caught:
                cgroupfs.remove(path)
            cgroupfs.limit(path, "io.max", f"{disk} wbps=max")

    assert caught.value.errno == errno.EBUSY
    assert f"do not die: {pid} " in str(caught.value)


def root_disk() -> tuple[str, str]:
    """A disk of this machine, and a directory on it."""
    from scratchlab.stages.disks import _directory_on

    for disk in Path("/sys/block").iterdir():
        numbers = (disk / "dev").read_text().strip()
        if directory := _directory_on(numbers):
            return numbers, directory
    pytest.skip("needs a disk with a mounted filesystem that keeps unnamed files")
