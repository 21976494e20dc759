import subprocess
from dataclasses import replace

from scratchlab import linux
from scratchlab.linux import Clone, Mount
from scratchlab.observe import Changes, Snapshot, diff
from tests.conftest import needs_root
from tests.observe.held import held


def isolate() -> None:
    linux.unshare(Clone.NEWNS | Clone.NEWUTS | Clone.NEWNET)
    linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)
    linux.mount("proc", "/proc", "proc", Mount.NOSUID | Mount.NODEV | Mount.NOEXEC)
    linux.sethostname("web")


def leave_the_host() -> None:
    """Others work on this machine at the same time: what they make must not be among our changes."""
    linux.unshare(Clone.NEWNS | Clone.NEWNET)
    linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@needs_root
def test_the_same_steps_read_the_same_in_every_run():
    def text() -> str:
        with held(leave_the_host, isolate, done=1) as child:
            before = Snapshot.of(child.pid)
            child.go()
            return repr(diff(before, Snapshot.of(child.pid)))

    first = text()

    assert first == text()
    assert "uts namespace     host → new" in first
    assert "+ /proc  proc  nosuid,nodev,noexec" in first
    assert "~ lo  up mtu 65536 → down mtu 65536" in first


@needs_root
def test_a_process_that_only_waits_does_not_change():
    with held(leave_the_host, done=1) as child:
        assert diff(Snapshot.of(child.pid), Snapshot.of(child.pid)) == ()


@needs_root
def test_a_mount_that_propagates_is_seen_on_both_sides(tmp_path):
    """The "host" here is a child with a mount namespace of its own, so that nothing reaches the machine."""

    def share() -> None:
        linux.unshare(Clone.NEWNS)
        linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)
        linux.mount("tmpfs", str(tmp_path), "tmpfs")
        linux.mount(None, str(tmp_path), None, Mount.SHARED)
        (tmp_path / "data").mkdir()

    def leave(pid: int) -> None:
        fd = linux.openat2(-100, f"/proc/{pid}/ns/mnt", 0)
        linux.setns(fd, Clone.NEWNS)
        linux.unshare(Clone.NEWNS)
        linux.mount("data", str(tmp_path / "data"), "tmpfs")

    with held(share, done=1) as host, held(lambda: leave(host.pid)) as box:
        before = Snapshot.of(host.pid)
        box.go()
        inside, outside = Snapshot.of(box.pid), Snapshot.of(host.pid)

    added = replace(inside, mounts=tuple(mount for mount in inside.mounts if mount.source != "data"))
    text = repr(Changes(diff(added, inside) + diff(before, outside, "host")))
    assert text.count(f"+ {tmp_path}/data  tmpfs") == 2
    assert text.endswith("on the host too  ← propagated")
