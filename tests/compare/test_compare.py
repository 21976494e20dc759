"""compare(pid): a process of another engine beside ours, told apart fact by fact."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import scratchlab
from scratchlab import Container, Sandbox, compare, stages
from scratchlab.errors import HostError, InputError, SandboxError
from scratchlab.observe import Snapshot
from scratchlab.peers import Comparison
from scratchlab.stages import STAGES
from tests.command_line import complains, said
from tests.compare import engines
from tests.compare.conftest import needs_program
from tests.conftest import held, in_child, needs_root

pytestmark = needs_root


@pytest.fixture(scope="module")
def ours(busybox_rootfs: Path) -> Iterator[Sandbox]:
    """A default container, for many comparisons."""
    with Container(str(busybox_rootfs), ("cat",)).started() as box:
        yield box


@pytest.fixture
def neighbour() -> Iterator[int]:
    """A process of the host's, in no container."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        process.kill()


def verdicts(found: Comparison, topic: str) -> dict[str, str]:
    return {row.what: row.verdict for row in found.rows if row.topic == topic}


# -- whatever the engine ----------------------------------------------------------------------------------------------


def test_a_process_of_the_host_is_looser_than_ours_in_every_wall(neighbour: int, ours: Sandbox) -> None:
    found = compare(neighbour, ours)

    namespaces = verdicts(found, "namespaces")
    assert {namespaces[kind] for kind in ("uts", "ipc", "mnt", "pid", "net", "cgroup")} == {"looser"}
    assert verdicts(found, "capabilities")["effective"] == "looser"
    assert found.row("privileges", "no_new_privs").verdict == "looser"
    assert {verdicts(found, "limits")[what] for what in ("cpu", "memory", "processes")} == {"looser"}
    assert {verdicts(found, "files")[what] for what in ("root", "masked paths", "read-only paths")} == {"looser"}
    assert not [row for row in found.rows if row.verdict == "tighter"]


def test_ours_beside_itself_is_the_same(ours: Sandbox) -> None:
    found = compare(ours.pid, ours)

    assert {row.what for row in found.differing} <= {"open files"}


def test_a_default_container_is_started_for_the_comparison_and_gone_after_it(neighbour: int) -> None:
    found = compare(neighbour)

    assert found.ours == "a default container"
    assert found.row("limits", "cpu").ours == "0.2 of a CPU"
    assert found.row("files", "open files").ours == "none"
    assert found.row("namespaces", "hostname").ours == "container"


def test_what_the_table_says_is_what_the_kernel_says(neighbour: int, ours: Sandbox) -> None:
    found, status = compare(neighbour, ours), Path(f"/proc/{ours.pid}/status").read_text()

    assert f"NoNewPrivs:\t{int(found.row('privileges', 'no_new_privs').ours == 'on')}" in status
    assert f"Seccomp_filters:\t{found.row('privileges', 'seccomp filters').ours}\n" in status
    assert found.row("namespaces", "uts").theirs == "the host's"
    assert os.readlink(f"/proc/{neighbour}/ns/uts") == os.readlink("/proc/self/ns/uts")


def test_the_stages_that_build_the_walls_are_all_named(neighbour: int, ours: Sandbox) -> None:
    built = {stage for row in compare(neighbour, ours).rows for stage in row.stages}

    # Rules of the host that the kernel ties to no process, a copy of what another has, and what prepares for another stage.
    others = {"nat", "publish", "input_drop", "pasta", "slirp4netns", "join", "join_groups", "mount_points", "idmap", "resolv"}
    assert set(STAGES) - built <= others
    assert built <= set(STAGES)


def test_the_table_reads_well_in_120_columns(neighbour: int, ours: Sandbox) -> None:
    text = repr(compare(neighbour, ours))

    assert max(map(len, text.splitlines())) <= 120
    assert (
        "≠ pid              the host's                   own                          unshare_pid        looser: sees the host"
        in text
    )


def test_the_json_holds_every_row(neighbour: int) -> None:
    data = json.loads(said("compare", "--json", neighbour))

    assert data["theirs"] == f"sleep (pid {neighbour})"
    row = next(row for row in data["rows"] if row["what"] == "uts")
    assert (row["theirs"], row["ours"], row["verdict"], row["stages"]) == ("the host's", "own", "looser", ["unshare_uts"])


def test_the_command_prints_the_table(neighbour: int, busybox_rootfs: Path) -> None:
    assert said("compare", "--rootfs", busybox_rootfs, neighbour).startswith("   ")


def test_a_chroot_is_told_from_a_pivot(busybox_rootfs: Path, ours: Sandbox) -> None:
    def chrooted() -> None:
        stages.unshare_mount()
        stages.private_mounts()
        stages.chroot(str(busybox_rootfs))

    with held(chrooted) as pid:
        row = compare(pid, ours).row("files", "root")

    assert (row.theirs, row.ours, row.verdict) == ("own, by chroot", "own, by pivot_root", "looser")


def test_import_of_the_name_costs_nothing_until_it_is_used() -> None:
    assert scratchlab.compare is compare
    program = "import sys, scratchlab; print('scratchlab.peers' in sys.modules)"
    assert engines.done("python3", "-c", program, cwd=Path(scratchlab.__file__).parent.parent) == "False"


# -- what cannot be compared ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pid", [0, -1, True, "1", None])
def test_what_is_no_pid_is_refused(pid: int) -> None:
    with pytest.raises(InputError, match="is not the pid of a process"):
        compare(pid)


def test_a_process_that_is_not_there_is_said_to_be_missing(busybox_rootfs: Path) -> None:
    complains(125, "there is no process 4194305", "compare", "4194305")
    complains(2, "PID", "compare", "web")


def test_this_program_itself_is_no_container() -> None:
    with pytest.raises(InputError, match="this program itself"):
        compare(os.getpid())


def test_a_thread_of_the_kernel_is_no_container() -> None:
    with pytest.raises(InputError, match=r"process 2 \(kthreadd\) is a thread of the kernel"):
        compare(2)


def test_a_zombie_is_said_to_be_one() -> None:
    process = subprocess.Popen(["true"])
    try:
        while engines.done("ps", "-o", "state=", "-p", process.pid) != "Z":
            time.sleep(0.01)
        with pytest.raises(SandboxError, match=f"process {process.pid} .* is a zombie"):
            compare(process.pid)
    finally:
        process.wait()


def test_a_process_of_somebody_else_is_said_to_be_closed(neighbour: int) -> None:
    def as_nobody() -> None:
        os.setresuid(65534, 65534, 65534)
        compare(neighbour)

    with pytest.raises(HostError, match="not permitted"):
        in_child(as_nobody)


def test_a_root_filesystem_without_the_command_that_waits_is_refused(neighbour: int, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    complains(127, "cat", "compare", "--rootfs", tmp_path, neighbour)


# -- runc, crun, podman, bubblewrap -----------------------------------------------------------------------------------


@needs_program("runc", "runc")
def test_a_container_of_runc_is_read_as_its_own_configuration_says(peer_rootfs: Path, tmp_path: Path, ours: Sandbox) -> None:
    with engines.oci("runc", peer_rootfs, tmp_path / "runc") as pid:
        found = compare(pid, ours)
    config = json.loads((tmp_path / "runc/config.json").read_text())

    kinds = {{"network": "net", "mount": "mnt"}.get(each["type"], each["type"]) for each in config["linux"]["namespaces"]}
    assert {row.what for row in found.rows if row.topic == "namespaces" and row.theirs == "own"} >= kinds
    configured = config["process"]["capabilities"]
    for name in ("effective", "permitted", "bounding"):
        assert set(found.row("capabilities", name).theirs.split(", ")) == {word.removeprefix("CAP_") for word in configured[name]}
    # It asks for ambient ones too, but what is not inheritable cannot be ambient, and the kernel says so.
    assert configured["ambient"] and found.row("capabilities", "ambient").theirs == "none"
    assert found.row("privileges", "no_new_privs").theirs == "on"
    masked = set(found.row("files", "masked paths").theirs.split(", "))
    assert masked and masked <= set(config["linux"]["maskedPaths"])
    assert set(found.row("files", "read-only paths").theirs.split(", ")) >= {"/proc/sys", "/proc/bus", "/proc/irq", "/proc/fs"}
    assert found.row("files", "root writable").verdict == "tighter"  # its default is --read-only
    assert found.row("resource limits", "NOFILE").theirs == "1024"
    assert found.row("limits", "memory").verdict == "looser"


@needs_program("runc", "runc")
def test_what_is_changed_in_a_peer_is_seen_in_that_row(peer_rootfs: Path, tmp_path: Path, ours: Sandbox) -> None:
    change = {"noNewPrivileges": False, "user": {"uid": 1000, "gid": 1001}, "oomScoreAdj": 345}
    with engines.oci("runc", peer_rootfs, tmp_path / "changed", change) as pid:
        found = compare(pid, ours)

    assert found.row("privileges", "no_new_privs").difference == "looser: gains by setuid files"
    assert found.row("ids", "uid inside").theirs == "1000" and found.row("ids", "gid inside").theirs == "1001"
    assert found.row("ids", "uid outside").verdict == "tighter"
    assert found.row("limits", "oom_score_adj").theirs == "345"


@needs_program("bwrap", "bubblewrap")
def test_a_sandbox_of_bubblewrap_has_its_own_user_namespace_and_no_limits(peer_rootfs: Path, ours: Sandbox) -> None:
    with engines.bubblewrap(peer_rootfs, "--hostname", "wrapped", "--uid", "1000") as pid:
        found, seen = compare(pid, ours), Snapshot.of(pid)

    assert found.row("namespaces", "user").theirs == "own"
    assert found.row("ids", "uid inside").theirs == "1000" and found.row("ids", "uid outside").theirs == "0"
    assert found.row("ids", "uid map").theirs == "1000 is 0 outside"
    assert found.row("namespaces", "hostname").theirs == seen.hostname == "wrapped"
    assert found.row("files", "root").theirs == "own, by pivot_root"
    assert found.row("files", "/sys").theirs == "not mounted"
    assert found.row("files", "masked paths").verdict == "looser"
    assert found.row("limits", "processes").theirs == "no limit"


@needs_program("podman", "podman")
@needs_program("runc", "runc")
def test_a_container_of_podman_is_read(peer_rootfs: Path, ours: Sandbox) -> None:
    with engines.podman(peer_rootfs, "--memory=64m", "--pids-limit=50") as pid:
        found = compare(pid, ours)

    assert (found.row("limits", "memory").theirs, found.row("limits", "processes").theirs) == ("64 MB", "50")
    assert found.row("privileges", "seccomp").theirs == "filter"
    assert "SETFCAP" in found.row("capabilities", "bounding").theirs
    assert "/proc/keys" in found.row("files", "masked paths").theirs
