"""compare(pid) on containers of Docker: read from the kernel, and checked against what Docker itself says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scratchlab import Container, Sandbox, compare
from scratchlab.peers import Comparison
from tests.compare.conftest import needs_program
from tests.compare.engines import Docker
from tests.conftest import needs_root

pytestmark = [needs_root, needs_program("dockerd", "docker.io"), needs_program("docker", "docker.io")]


@pytest.fixture(scope="module")
def ours(busybox_rootfs: Path) -> Iterator[Sandbox]:
    """A default container, for all comparisons."""
    with Container(str(busybox_rootfs), ("cat",)).started() as box:
        yield box


def seen(docker: Docker, ours: Sandbox, *options: str) -> tuple[Comparison, Any]:
    """A container of docker beside ours, and what docker says of it."""
    with docker.container(*options) as pid:
        name = docker.do("ps", "--quiet", "--filter", "status=running")
        return compare(pid, ours), docker.inspect(name)


def words(text: str) -> set[str]:
    return set(text.split(", "))


def test_a_default_container_of_docker_is_seen_as_docker_describes_it(docker: Docker, ours: Sandbox) -> None:
    found, said = seen(docker, ours)

    own = {row.what for row in found.rows if row.topic == "namespaces" and row.theirs == "own"}
    assert own >= {"uts", "ipc", "mnt", "pid", "net"} and found.row("namespaces", "user").theirs == "the host's"
    assert found.row("namespaces", "hostname").theirs == said["Config"]["Hostname"]
    assert len(words(found.row("capabilities", "bounding").theirs)) == 14
    assert found.row("privileges", "seccomp").theirs == "filter" and found.row("privileges", "seccomp filters").theirs == "1"
    assert found.row("privileges", "no_new_privs").verdict == "looser"
    # What this kernel does not have needs no mask.
    expected = {path for path in said["HostConfig"]["MaskedPaths"] if Path(path).exists()}
    assert words(found.row("files", "masked paths").theirs) == expected
    expected = {path for path in said["HostConfig"]["ReadonlyPaths"] if Path(path).exists()}
    assert words(found.row("files", "read-only paths").theirs) >= expected - {"/proc/sysrq-trigger"}
    assert found.row("files", "writable paths").theirs == "/proc, /sys/fs/cgroup"
    assert {found.row("limits", what).theirs for what in ("cpu", "memory", "processes")} == {"no limit"}


def test_what_docker_is_asked_for_is_seen_in_its_row(docker: Docker, ours: Sandbox) -> None:
    limits = ("--memory=64m", "--cpus=0.5", "--pids-limit=50", "--ulimit=nofile=100:200")
    rights = ("--cap-drop=ALL", "--cap-add=NET_RAW", "--security-opt=no-new-privileges", "--user=1000:1000", "--read-only")
    found, said = seen(docker, ours, *limits, *rights)

    assert (said["HostConfig"]["Memory"], found.row("limits", "memory").theirs) == (64 << 20, "64 MB")
    assert (said["HostConfig"]["NanoCpus"], found.row("limits", "cpu").theirs) == (500_000_000, "0.5 of a CPU")
    assert (said["HostConfig"]["PidsLimit"], found.row("limits", "processes").theirs) == (50, "50")
    assert found.row("resource limits", "NOFILE").theirs == "soft 100, hard 200"
    assert (found.row("capabilities", "bounding").theirs, found.row("capabilities", "effective").theirs) == ("NET_RAW", "none")
    assert found.row("privileges", "no_new_privs").verdict == "same"
    assert found.row("ids", "uid inside").theirs == "1000"
    assert found.row("files", "root writable").theirs == "read-only"


def test_walls_that_docker_was_asked_to_leave_out_are_seen_to_be_missing(docker: Docker, ours: Sandbox) -> None:
    # Not --privileged, which fails where root lacks a capability itself.
    confined = [f"--security-opt={what}=unconfined" for what in ("seccomp", "systempaths")]
    found, _ = seen(docker, ours, *confined, "--pid=host", "--uts=host", "--cap-add=SYS_ADMIN")

    assert found.row("namespaces", "pid").difference == "looser: sees the host's processes"
    assert found.row("namespaces", "uts").theirs == "the host's"
    assert found.row("capabilities", "bounding").verdict == "looser"
    assert found.row("files", "masked paths").theirs == "none"
    assert found.row("privileges", "seccomp").theirs == "off"
