"""Causes are found where the call failed: in an agent that has left Python's files behind, and in a process of one's own."""

import subprocess
import sys
from pathlib import Path

import pytest

from scratchlab import Sandbox, linux, stages
from scratchlab.errors import KernelError
from tests.command_line import ENVIRONMENT
from tests.conftest import needs_root

pytestmark = needs_root


def test_after_pivot_an_agent_still_finds_causes(busybox_rootfs: Path) -> None:
    # In here, so that they travel by value: the agent cannot import a test.
    def missing_directory() -> None:
        linux.mkdir("/nowhere/below")

    def ring_of_links() -> None:
        linux.symlink("b", "/tmp/a")
        linux.symlink("a", "/tmp/b")
        linux.chdir("/tmp/a")

    with Sandbox("test") as box:
        box.apply(stages.unshare_mount)
        box.apply(stages.private_mounts)
        box.apply(stages.pivot, str(busybox_rootfs))
        box.apply(stages.tmpfs, "/tmp")

        with pytest.raises(KernelError, match=r"/nowhere does not exist, so nothing can be below it: mkdir -p /nowhere"):
            box.apply(missing_directory)
        with pytest.raises(KernelError, match=r"in a ring: /tmp/a → /tmp/b → /tmp/a"):
            box.apply(ring_of_links)
        with pytest.raises(KernelError, match=r"no filesystem 'nosuchfs'"):
            box.apply(lambda: linux.mount("x", "/tmp", "nosuchfs"))


def test_a_stage_that_is_called_directly_finds_causes_after_pivot(busybox_rootfs: Path) -> None:
    program = f"""
from scratchlab import linux, stages
stages.unshare_mount(); stages.private_mounts(); stages.pivot({str(busybox_rootfs)!r})
try:
    linux.mkdir("/nowhere/below")
except OSError as error:
    print(error.hint)
"""
    done = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, check=False)

    assert done.stdout.startswith("/nowhere does not exist, so nothing can be below it"), done


def test_an_error_of_pythons_in_a_learners_function_comes_back_as_the_call_behind_it(box: Sandbox) -> None:
    def act() -> None:
        import os

        os.mkdir("/nowhere/below")

    with pytest.raises(KernelError, match=r"mkdir\(path=\"/nowhere/below\"\): No such file.*\n  hint: /nowhere does not exist"):
        box.apply(act)


def test_a_file_that_landlock_shuts_is_said_to_be_open_by_its_mode(box: Sandbox) -> None:
    box.play([stages.step(stages.unshare_mount), stages.step(stages.private_mounts), stages.step(stages.landlock, read=["/tmp"])])

    with pytest.raises(KernelError, match=r"/sys/devices/system/cpu .* is open to .* by its mode, so Landlock or a security"):
        box.apply(stages.mask)


def test_who_has_given_up_files_is_told_why_it_can_mount_nothing(box: Sandbox) -> None:
    box.play(
        [stages.step(stages.unshare_mount), stages.step(stages.private_mounts), stages.step(stages.landlock, write=["/tmp"])]
    )

    with pytest.raises(KernelError, match=r"so it is Landlock: who has given up files can change no mounts"):
        box.apply(stages.tmpfs, "/mnt")


def test_a_clock_is_set_only_by_who_could_set_the_machines(box: Sandbox) -> None:
    box.apply(stages.capabilities, ["SYS_ADMIN"])

    with pytest.raises(KernelError, match="CAP_SYS_TIME is missing here; it was dropped"):
        box.apply(stages.unshare_time, boottime=5)
