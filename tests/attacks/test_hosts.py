"""Containers on trial: what goes with a stage that is left out, and hosts to throw away."""

from pathlib import Path

import pytest

from scratchlab.attacks import weaknesses
from scratchlab.container import Container
from scratchlab.errors import InputError
from scratchlab.stages import step
from scratchlab.trials.hosts import Guest, on_trial, own_host, stand_on, without
from tests.conftest import needs_root


def left_out(*stages: str) -> set[str]:
    return set(without(Container("/nowhere", (), network="veth"), *stages).left_out)


@needs_root
def test_what_cannot_be_without_a_stage_is_left_out_with_it() -> None:
    assert left_out("pids") == {"pids"}
    assert left_out("unshare_uts") == {"unshare_uts", "hostname"}
    assert left_out("unshare_net") == {"unshare_net", "loopback", "veth", "nat", "input_drop"}
    assert left_out("veth") == {"veth", "nat", "input_drop", "publish"}
    assert {"private_mounts", "pivot", "proc", "devices", "mask"} <= left_out("unshare_mount")
    assert left_out("private_mounts") == {"private_mounts"}  # there is a throw-away host for it


@needs_root
def test_a_wall_of_the_hosts_tools_is_none_of_the_containers_stages() -> None:
    assert left_out("unpack", "pids") == {"pids"}


@needs_root
def test_a_guest_may_harm_the_mounts_of_its_host_and_nothing_else() -> None:
    container = Container("/nowhere", ())

    Guest(*container.without("private_mounts")).plan()
    with pytest.raises(InputError, match="would act on the host itself"):
        container.without("private_mounts").plan()
    for stage in ("unshare_uts", "unshare_net"):
        with pytest.raises(InputError, match="would act on the host itself"):
            Guest(*container.without(stage)).plan()


@needs_root
def test_what_a_container_on_a_throw_away_host_mounts_is_seen_there_and_not_here(busybox_rootfs: Path, tmp_path: Path) -> None:
    with own_host() as host:
        host.play([step(weaknesses.share, str(tmp_path))])
        (where := Path(f"/proc/{host.pid}/root{tmp_path}/place")).mkdir()
        container = Guest(str(busybox_rootfs), (), network="none", volumes=(f"{tmp_path}:/shared",)).without("private_mounts")
        with container.without("capabilities", "seccomp").started(first=[stand_on(host)]) as box:
            assert box.run("mount", "-t", "tmpfs", "tmpfs", "/shared/place").ok
        on_host = Path(f"/proc/{host.pid}/mountinfo").read_text()

        assert f" {tmp_path}/place " in on_host and where.exists()
        assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


@needs_root
def test_a_trial_begins_with_a_root_filesystem_and_stages_that_exist(busybox_rootfs: Path) -> None:
    assert on_trial(str(busybox_rootfs), ["seccomp"]).left_out == {"seccomp"}
    with pytest.raises(InputError, match="no such stage"):
        on_trial(str(busybox_rootfs), ["magic"])
    with pytest.raises(InputError, match="there is no root filesystem"):
        on_trial("/nowhere", [])
