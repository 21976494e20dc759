"""A machine of another kind of processor, emulated: what a Mac or another ARM computer would run."""

from pathlib import Path

import pytest

from scratchlab.vm import Machine, hardware
from scratchlab.vm.hardware import Hardware, Start
from tests.conftest import needs
from tests.vm.machines import NOT_SLOW, SLOW


def test_the_board_decides_about_console_and_processor() -> None:
    start = Start(disk=Path("/cache/disk"), kernel=Path("/k"), initrd=Path("/i"))
    arm = " ".join(hardware.words(Hardware("aarch64"), start, False, "/console"))
    pc = " ".join(hardware.words(Hardware("x86_64"), start, False, "/console"))

    assert "-M virt" in arm and "-cpu cortex-a72" in arm and "console=ttyAMA0" in arm
    assert "-M q35" in pc and "-cpu Nehalem-v1" in pc and "console=ttyS0" in pc
    assert "-cpu host" in " ".join(hardware.words(Hardware("aarch64", "hvf"), start, False, "/console"))


def test_a_path_with_a_comma_is_one_path() -> None:
    start = Start(disk=Path("/ca,che/disk"))

    assert any("file=/ca,,che/disk" in word for word in hardware.words(Hardware(), start, False, "/console"))


@needs(SLOW, NOT_SLOW)
@pytest.mark.parametrize("cold", [True, False], ids=["booted", "restored"])
def test_an_arm_machine_builds_a_sandbox(cold: bool) -> None:
    program = "from scratchlab import Sandbox, stages; print(Sandbox().apply(stages.unshare_uts))"
    with Machine.start(kind="aarch64", cold=cold) as machine:
        assert machine.run(["uname", "-m"]).out == "aarch64"
        assert "uts namespace   host → new" in machine.run(["python3", "-c", program]).out
