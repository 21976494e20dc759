"""What the doctor tries: it fails with its reason when the thing is really taken away, and leaves nothing."""

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from scratchlab import linux
from scratchlab.doctor import attempt
from scratchlab.doctor.attempt import Attempt, Finding, tried
from scratchlab.doctor.report import ATTEMPTS
from scratchlab.errors import HostError
from scratchlab.linux import At, Cap, CapSets, Clone, Mount, MountAttr, cgroupfs
from scratchlab.stages import STAGES
from tests.conftest import in_child, needs, needs_root
from tests.errors.filters import refuse
from tests.errors.provoked import own_mounts, own_user_namespace

BY_NAME = {attempt.what: attempt for attempt in ATTEMPTS}
KINDS = {
    "UTS namespace": "uts", "IPC namespace": "ipc", "PID namespace": "pid", "network namespace": "net",
    "mount namespace": "mnt", "cgroup namespace": "cgroup", "time namespace": "time", "user namespace": "user",
}  # fmt: skip


def found_without(what: str, lack: Callable[[], object]) -> Finding:
    """What the doctor says of one thing after something was taken away."""
    return in_child(lambda: (lack(), tried(BY_NAME[what]))[1])


# -- the list ---------------------------------------------------------------------------------------------------------


def test_every_stage_is_touched_by_something_that_is_tried() -> None:
    touched = {stage for attempt in ATTEMPTS for stage in attempt.stages}

    assert set(STAGES) - touched == set()
    assert touched - set(STAGES) == set()


def test_every_attempt_says_which_lessons_it_touches_and_what_to_do() -> None:
    assert [one.what for one in ATTEMPTS if not one.lessons or not set(one.lessons) <= set(range(19)) or not one.do] == []
    assert len(BY_NAME) == len(ATTEMPTS) >= 45


# -- taken away -------------------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("what", KINDS)
def test_a_kind_of_namespace_that_may_not_be_made_fails_with_the_switch(what: str) -> None:
    def lack() -> None:
        own_user_namespace()  # which counts its own namespaces
        Path(f"/proc/sys/user/max_{KINDS[what]}_namespaces").write_text("0")

    finding = found_without(what, lack)

    assert not finding.works
    assert "ENOSPC" in finding.why and finding.cause.startswith(f"user.max_{KINDS[what]}_namespaces is 0")
    assert finding.do


def drop(*capabilities: Cap) -> Callable[[], None]:
    def act() -> None:
        sets, keep = linux.capget(), ~linux.mask(capabilities)
        linux.capset(CapSets(sets.effective & keep, sets.permitted & keep, 0))

    return act


def read_only(path: str) -> Callable[[], None]:
    def act() -> None:
        own_mounts()
        linux.mount(path, path, None, Mount.BIND | Mount.REC)
        linux.mount_setattr(path, At.RECURSIVE, MountAttr.RDONLY)

    return act


def nowhere_to_write() -> None:
    for path in ("/run", "/tmp"):
        read_only(path)()
    os.environ.pop("XDG_RUNTIME_DIR", None)


def covered(path: str, by: str = "") -> Callable[[], None]:
    """Put something else in the place of a file, or an empty directory in the place of one."""

    def act() -> None:
        own_mounts()
        if by:
            linux.mount(by, path, None, Mount.BIND)
        else:
            linux.mount("tmpfs", path, "tmpfs")

    return act


def no_programs() -> None:
    own_mounts()
    linux.mount("tmpfs", "/usr/sbin", "tmpfs")
    os.environ["PATH"] = "/nowhere"


def filtered(call: str, errno: int = 1) -> Callable[[], None]:
    return lambda: refuse(call, errno)


TAKEN: dict[str, tuple[Callable[[], object], str]] = {
    "chroot": (drop(Cap.SYS_CHROOT), "EPERM.*CAP_SYS_CHROOT is missing here"),
    "device nodes": (drop(Cap.MKNOD), "EPERM.*CAP_MKNOD is missing here"),
    "other users and groups": (drop(Cap.SETGID), "EPERM.*CAP_SETGID is missing here"),
    "bridge": (drop(Cap.NET_ADMIN), "EPERM.*CAP_NET_ADMIN is missing here"),
    "IP forwarding": (read_only("/proc/sys"), "EROFS.*mounted read-only"),
    "limit on processes": (read_only("/sys/fs/cgroup"), "EROFS.*control groups are mounted read-only|not ours to write"),
    "a place for journals": (nowhere_to_write, "EROFS.*read-only"),
    "paths that no link leads out of": (filtered("openat2", 38), "ENOSYS.*came with Linux 5.6, or a seccomp filter"),
    "pivot_root": (filtered("pivot_root"), "EPERM.*a seccomp filter is active here"),
    "bind mounts, read-only": (filtered("mount_setattr", 38), "ENOSYS.*came with Linux 5.12"),
    "capabilities": (filtered("capset"), "EPERM.*seccomp filter|more than is permitted"),
    "packet filter and NAT (nftables)": (drop(Cap.NET_ADMIN), "EPERM.*CAP_NET_ADMIN is missing here"),
    "TAP device for rootless networks": (covered("/dev/net"), r"/dev/net/tun.*ENOENT.*does not exist"),
    "seccomp": (filtered("seccomp"), "EPERM.*a seccomp filter is active here"),
    "Landlock": (filtered("landlock_create_ruleset", 38), "Landlock does not work here"),
    "closing of inherited files": (filtered("close_range", 38), "ENOSYS.*came with Linux 5.9"),
    "ambient capabilities": (drop(Cap.CHOWN), "CHOWN is not permitted to this process"),
    "KVM": (covered("/dev/kvm", "/dev/null"), "ioctl|ENOTTY"),
    "pasta": (no_programs, "pasta is not installed"),
    "slirp4netns": (no_programs, "slirp4netns is not installed"),
    "a range of ids, by newuidmap": (covered("/etc/subuid", "/dev/null"), "/etc/subuid grants no range"),
    "root": (lambda: os.setresuid(65534, 65534, 65534), "this is user 65534, not root"),
}


@needs_root
@pytest.mark.parametrize("what", TAKEN)
def test_what_is_taken_away_fails_with_its_reason(what: str) -> None:
    lack, reason = TAKEN[what]
    finding = found_without(what, lack)

    assert not finding.works
    assert re.search(reason, f"{finding.why} {finding.cause} {finding.do}"), finding


GRANT = needs(os.path.exists("/usr/bin/newuidmap"), "needs newuidmap: apt-get install uidmap")


@needs_root
@GRANT
def test_a_range_of_ids_works_once_it_is_granted(tmp_path: Path) -> None:
    grant = tmp_path / "granted"
    grant.write_text("65534:3000000:65536\n")

    def give() -> None:
        own_mounts()
        for path in ("/etc/subuid", "/etc/subgid"):
            linux.mount(str(grant), path, None, Mount.BIND)

    assert found_without("a range of ids, by newuidmap", give).works


@needs_root
@pytest.mark.parametrize("what", ["TAP device for rootless networks", "pasta", "slirp4netns"])
@needs(shutil.which("pasta") and shutil.which("slirp4netns"), "needs both: apt-get install passt slirp4netns")
def test_a_rootless_network_works_once_its_device_is_open_to_all(what: str) -> None:
    def give() -> None:
        own_mounts()
        linux.mount("tmpfs", "/dev/net", "tmpfs")
        linux.mknod("/dev/net/tun", 0o020666, os.makedev(10, 200))
        linux.chmod("/dev/net/tun", 0o666)

    finding = found_without(what, give)
    assert finding.works, finding


# -- how a thing is tried ---------------------------------------------------------------------------------------------


def trying(act: Callable[[], object]) -> Finding:
    return tried(Attempt("a thing", act, (), (0,), "do this"))


def test_what_works_has_no_reason_and_nothing_to_do() -> None:
    assert trying(lambda: None) == Finding("a thing", True, True, "", "", "", (), (0,))


def test_an_error_of_any_kind_is_what_was_found() -> None:
    def fail(error: BaseException) -> Finding:
        def act() -> None:
            raise error

        return trying(act)

    assert fail(HostError("no", "try that"))[1:6] == (False, True, "no", "", "try that; do this")
    assert fail(ModuleNotFoundError("No module named 'x'")).why == "ModuleNotFoundError: No module named 'x'"
    assert fail(SystemExit(3)).why == "SystemExit: 3"


def test_an_error_of_pythons_own_is_explained() -> None:
    finding = trying(lambda: os.mkdir("/etc"))

    assert finding.why == 'mkdir(path="/etc"): File exists (EEXIST)'
    assert finding.cause == "/etc exists already, as a directory"


def test_an_attempt_that_is_killed_or_hangs_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "PATIENCE", 0.2)

    assert trying(lambda: os.kill(os.getpid(), signal.SIGKILL)).why == "the attempt gave no answer: ended by signal 9"
    assert trying(signal.pause).why == "it took longer than 0 seconds"


def test_what_an_attempt_starts_ends_with_it() -> None:
    reader, writer = os.pipe()

    def act() -> None:
        pid = os.fork()
        if pid == 0:
            signal.pause()
        os.write(writer, json.dumps(pid).encode())

    assert trying(act).works
    started = json.loads(os.read(reader, 100))
    os.close(reader), os.close(writer)
    while os.path.exists(f"/proc/{started}") and "Z" not in Path(f"/proc/{started}/stat").read_text().split(")")[1]:
        os.sched_yield()


@needs_root
def test_nothing_is_changed_outside() -> None:
    before = (os.uname().nodename, Path("/proc/self/mountinfo").read_text(), Path("/proc/sys/net/ipv4/ip_forward").read_text())
    for what in ("UTS namespace", "mount namespace", "pivot_root", "IP forwarding", "limit on memory"):
        tried(BY_NAME[what])

    after = (os.uname().nodename, Path("/proc/self/mountinfo").read_text(), Path("/proc/sys/net/ipv4/ip_forward").read_text())
    assert after[:2] == before[:2]
    assert not os.path.exists(cgroupfs.path_of("memory", "doctor"))


@needs_root
def test_an_ordinary_user_tries_in_a_user_namespace() -> None:
    def lack() -> None:
        from tests.errors.provoked import nobody

        nobody()

    for what in ("UTS namespace", "pivot_root", "overlay", "/dev of a container", "packet filter and NAT (nftables)"):
        assert found_without(what, lack).works, what


def test_the_clone_flags_of_every_kind_are_tried() -> None:
    assert len(KINDS) == len([flag for flag in Clone if str(flag.name).startswith("NEW")])
