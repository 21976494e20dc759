"""Labels of SELinux and AppArmor: given where the machine has such a policy, refused with the reason elsewhere."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scratchlab.errors import InputError, StageError
from scratchlab.linux import write_file
from scratchlab.stages.labels import active_modules, apparmor_profile, selinux_label
from tests.conftest import in_child, needs_root

pytestmark = needs_root

ACTIVE = active_modules()


def executed() -> str:
    """The label of a program, as it sees it itself."""
    return subprocess.run(["cat", "/proc/self/attr/current"], capture_output=True, text=True, check=False).stdout.rstrip("\0\n")


def test_the_kernels_list_of_modules_is_what_securityfs_says() -> None:
    assert "capability" in ACTIVE
    listed = Path("/sys/kernel/security/lsm")
    if listed.exists():
        assert sorted(ACTIVE) == sorted(listed.read_text().split(","))


def test_programs_get_the_selinux_label_or_the_reason_why_not_is_told() -> None:
    label = "system_u:system_r:container_t:s0"
    if "selinux" in ACTIVE:
        label = Path("/proc/self/attr/current").read_text().rstrip("\0\n")
        assert in_child(lambda: (selinux_label(label), executed())[1]) == label
        return

    with pytest.raises(StageError, match=r"selinux is not active here.*capability") as caught:
        in_child(lambda: selinux_label(label))
    assert "boot a kernel" in caught.value.hint


def test_programs_get_the_apparmor_profile_or_the_reason_why_not_is_told(tmp_path: Path) -> None:
    if "apparmor" in ACTIVE:
        with apparmor_loaded(tmp_path) as profile:
            assert in_child(lambda: (apparmor_profile(profile), executed())[1]) == f"{profile} (enforce)"
        return

    with pytest.raises(StageError, match=r"apparmor is not active here.*capability"):
        in_child(lambda: apparmor_profile("docker-default"))


@contextmanager
def apparmor_loaded(directory: Path) -> Iterator[str]:
    """A profile that allows all files, by name, as long as the test lasts."""
    name = f"scratchlab-{directory.name}"
    (directory / "profile").write_text(f"profile {name} {{ file, }}\n")
    subprocess.run(["apparmor_parser", "--replace", directory / "profile"], check=True)
    try:
        yield name
    finally:
        write_file("/sys/kernel/security/apparmor/.remove", name)


@pytest.mark.parametrize("label", ["", "a\0b"])
def test_what_cannot_be_a_label_is_refused(label: str) -> None:
    for stage in (selinux_label, apparmor_profile):
        with pytest.raises(InputError, match="no label"):
            in_child(lambda stage=stage: stage(label))
