"""The wrappers: each makes the call of its name, with the manual's arguments, and strace sees what the ledger says."""

import errno
import inspect
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scratchlab import linux
from scratchlab.errors import InputError, KernelError
from scratchlab.linux import (
    At,
    Cap,
    CapSets,
    Clone,
    Mount,
    MountAttr,
    Prctl,
    Resolve,
    Umount,
    bpf,
    flags,
    numbers,
    paths,
    recording,
    syscalls,
)
from tests.conftest import in_child, needs, needs_root

HEADERS = Path("/usr/include")


def test_each_call_has_a_function_of_its_name_and_a_number_on_both_machines() -> None:
    made = set(re.findall(r'_call\("(\w+)"', inspect.getsource(syscalls)))

    assert len(made) >= 15
    for name in made:
        assert inspect.isfunction(getattr(syscalls, name))
        assert name in linux.__all__
        assert name in numbers.table("x86_64") and name in numbers.table("aarch64")


@needs((HEADERS / "linux/landlock.h").exists(), "needs kernel headers: apt-get install linux-libc-dev")
def test_the_numbers_of_filters_and_rules_are_those_of_the_kernel_headers() -> None:
    text = "".join((HEADERS / "linux" / f"{name}.h").read_text() for name in ("seccomp", "audit", "landlock", "close_range"))
    plain = re.findall(r"^#define\s+(\w+)\s+(0x[0-9a-fA-F]+|\d+)U?\b", text, re.M)
    shifted = re.findall(r"^#define\s+(\w+)\s+\(1\w* << (\d+)\)", text, re.M)
    defined = {name: int(value, 0) for name, value in plain} | {name: 1 << int(bit) for name, bit in shifted}
    prefixes = {
        bpf.Verdict: "SECCOMP_RET_", linux.SeccompOp: "SECCOMP_", linux.SeccompFlag: "SECCOMP_FILTER_FLAG_",
        linux.LandlockFs: "LANDLOCK_ACCESS_FS_", linux.LandlockNet: "LANDLOCK_ACCESS_NET_",
        linux.LandlockScope: "LANDLOCK_SCOPE_", linux.CloseRange: "CLOSE_RANGE_",
    }  # fmt: skip
    ours = {prefix + str(member.name): int(member) for kind, prefix in prefixes.items() for member in kind}
    known = {name: value for name, value in ours.items() if name in defined}

    assert len(known) >= 24  # headers may be older than the rest
    assert {name: defined[name] for name in known} == known


@needs((HEADERS / "linux/capability.h").exists(), "needs kernel headers: apt-get install linux-libc-dev")
def test_the_flags_are_those_of_the_kernel_headers() -> None:
    text = "".join(
        (HEADERS / "linux" / name).read_text() for name in ("capability.h", "sched.h", "mount.h", "prctl.h", "openat2.h")
    )
    defined = {
        name: int(value, 0) for name, value in re.findall(r"^#define\s+(\w+)\s+(0x[0-9a-fA-F]+|\d+)\b(?!\s*<<)", text, re.M)
    }
    prefixes = {Cap: "CAP_", Clone: "CLONE_", Prctl: "PR_", Resolve: "RESOLVE_", MountAttr: "MOUNT_ATTR_"}
    wrong = {}
    for kind, prefix in prefixes.items():
        for member in kind:
            if defined.get(prefix + str(member.name), int(member)) != int(member):
                wrong[prefix + str(member.name)] = int(member)
    assert not wrong
    assert len(flags.NAMESPACES) == 8


def test_an_error_names_the_call_its_arguments_and_what_python_would_say() -> None:
    with pytest.raises(KernelError) as caught:
        linux.mount("a", "/no/such/place", "tmpfs", Mount.NOSUID | Mount.NODEV)

    error = caught.value
    assert isinstance(error, OSError)
    assert (error.errno, error.strerror, error.call) in [
        (errno.ENOENT, "No such file or directory", "mount"),
        (errno.EPERM, "Operation not permitted", "mount"),
    ]
    assert 'mount(source="a", target="/no/such/place", filesystemtype="tmpfs", mountflags=NOSUID|NODEV, data=NULL)' in str(error)


def test_text_with_a_nul_is_refused_and_not_cut_off() -> None:
    with recording() as calls, pytest.raises(InputError, match="NUL"):
        linux.umount2("/tmp\0/elsewhere", Umount.NOFOLLOW)
    assert calls == []


@needs_root
def test_a_path_that_is_not_text_for_python_reaches_the_kernel_unchanged(tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    os.mkdir(odd)

    def act() -> str:
        linux.unshare(Clone.NEWNS)
        linux.mount("tmpfs", odd, "tmpfs")
        linux.umount2(odd)
        return "mounted"

    assert in_child(act) == "mounted"


def test_capget_agrees_with_proc_and_capset_can_only_take() -> None:
    text = Path("/proc/self/status").read_text()
    numbers = [int(re.search(rf"{name}:\s+(\w+)", text)[1], 16) for name in ("CapEff", "CapPrm", "CapInh")]  # type: ignore[index]
    assert list(linux.capget()) == numbers

    def act() -> CapSets:
        linux.capset(CapSets(0, 0, 0))
        with pytest.raises(KernelError, match="EPERM"):
            linux.capset(CapSets(1, 1, 0))
        return linux.capget()

    assert in_child(act) == CapSets(0, 0, 0)


def test_openat2_keeps_a_walk_inside_its_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "link").symlink_to("/etc")

    with paths.pinned("/link/../../../etc", str(tmp_path)) as place:
        assert os.readlink(place) == str(tmp_path / "etc")
    with pytest.raises(InputError, match="only what exists"), paths.pinned("/link/passwd", str(tmp_path)):
        pass


def test_pinned_holds_its_place_when_somebody_puts_a_link_there(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/null").touch()

    with paths.pinned("/dev", str(tmp_path)) as place:
        (tmp_path / "dev").rename(tmp_path / "old")
        (tmp_path / "dev").symlink_to("/etc")
        assert os.listdir(place) == ["null"]


def test_pinned_leaves_no_file_open(tmp_path: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    for path in ("/", "/missing", "/.."):
        try:
            with paths.pinned(path, str(tmp_path)):
                pass
        except InputError:
            pass
    assert sorted(os.listdir("/proc/self/fd")) == before


@needs_root
def test_mount_setattr_makes_read_only_and_keeps_the_rest(tmp_path: Path) -> None:
    def act() -> str:
        linux.unshare(Clone.NEWNS)
        linux.mount("tmpfs", str(tmp_path), "tmpfs", Mount.NOSUID | Mount.NOEXEC)
        linux.mount_setattr(str(tmp_path), At.RECURSIVE, MountAttr.RDONLY)
        return Path("/proc/self/mountinfo").read_text().splitlines()[-1].split()[5]

    assert set(in_child(act).split(",")) >= {"ro", "nosuid", "noexec"}


def test_setrlimit_gives_the_kernels_errno_and_not_pythons_valueerror() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with pytest.raises(KernelError, match="EINVAL"):
        linux.setrlimit("RLIMIT_NOFILE", 11, 10)

    def act() -> None:
        linux.capset(CapSets(0, 0, 0))
        linux.setrlimit("RLIMIT_NOFILE", 10, 10)
        linux.setrlimit("RLIMIT_NOFILE", 10, 11)

    with pytest.raises(KernelError, match="EPERM"):
        in_child(act)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)


def test_write_file_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="ENOENT"):
        linux.write_file(str(tmp_path / "knob"), "1")
    assert not (tmp_path / "knob").exists()


PROGRAM = """
import sys
from scratchlab import linux
from scratchlab.linux import At, Cap, CapSets, Clone, Mount, MountAttr, Prctl, Umount
place = sys.argv[1]
linux.chdir("/")  # strace is compared from here on
with linux.recording() as calls:
    linux.unshare(Clone.NEWNS | Clone.NEWUTS)
    linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)
    linux.mount("tmpfs", place, "tmpfs", Mount.NOSUID, "size=1m")
    linux.mount_setattr(place, At(0), MountAttr.RDONLY)
    linux.umount2(place, Umount.DETACH)
    linux.sethostname("web")
    linux.setdomainname("lab")
    linux.prctl(Prctl.CAPBSET_DROP, Cap.SYS_BOOT)
    linux.capset(linux.capget())
    linux.setgroups([0, 5])
    linux.setresgid(1, 1, 1)
    linux.setresuid(1, 1, 1)
print("\\n".join(call.name for call in calls))
"""


@needs_root
@needs(shutil.which("strace"), "needs strace: apt-get install strace")
def test_strace_sees_the_same_calls_as_the_ledger(tmp_path: Path) -> None:
    names = (
        "unshare,mount,mount_setattr,umount2,sethostname,setdomainname,prctl,capget,capset,setgroups,setresgid,setresuid,chdir"
    )
    command = ["strace", "-e", f"trace={names}", "-o", str(tmp_path / "trace"), sys.executable, "-c", PROGRAM, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ledger = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()

    lines = (tmp_path / "trace").read_text().splitlines()
    start = max(number for number, line in enumerate(lines) if line.startswith('chdir("/")'))
    seen = [line.partition("(")[0] for line in lines[start + 1 :] if line[0].isalpha()]
    assert seen == ledger
