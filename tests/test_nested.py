"""A container in a container: less is there, and what is missing is said in words."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import ROOT, SITE, Result, scratchlab
from tests.conftest import needs_root
from tests.ordinary import PYTHON, Ordinary

pytestmark = needs_root

SEEN_WHOLE = ("--without", "mask", "--without", "readonly")


def nested(rootfs: Path, inner: Path, outer: tuple[str, ...], *words: object) -> Result:
    """A command of ours in a container of ours, which has no setuid programs, no control groups and the engines' capabilities."""
    brought = {
        sys.base_prefix: "/opt/python",
        ROOT / "scratchlab": "/opt/lib/scratchlab",
        str(SITE): "/opt/site",
    }
    volumes = [word for source, place in brought.items() for word in ("-v", f"{source}:{place}:ro")]
    paths = ("-e", "PYTHONPATH=/opt/lib:/opt/site", "-e", "LD_LIBRARY_PATH=/opt/python/lib")
    start = ("run", "--network", "none", "--cap-add", "DEFAULT", *outer, *volumes, "-v", f"{inner}:/inner", *paths, rootfs)
    return scratchlab(*start, f"/opt/python/{PYTHON}", "-m", "scratchlab.cli", *words)


@pytest.fixture
def without_filter() -> tuple[str, ...]:
    """Our seccomp filter, like the engines' own, lets nobody make a user namespace."""
    from scratchlab.stages import STAGES

    return ("--without", "seccomp") if "seccomp" in STAGES else ()


def test_a_container_runs_in_a_container_and_says_what_it_lacks(
    rootfs: Path, busybox_rootfs: Path, without_filter: tuple[str, ...]
) -> None:
    script = "id -u; hostname; echo $$; cat /proc/1/comm"
    done = nested(rootfs, busybox_rootfs, (*SEEN_WHOLE, *without_filter), "run", "/inner", "sh", "-c", script)

    assert done.stdout.split() == ["0", "container", "2", "scratchlab"], done.stderr
    notes = [line.removeprefix("scratchlab: note: ") for line in done.stderr.splitlines()]
    assert len(notes) == 3
    assert notes[0].startswith("only root has an id inside: newuidmap and newgidmap are not installed")
    assert notes[1].startswith("there is no network: pasta is not installed")
    assert notes[2].startswith("no limit is set on cpu, memory, pids: no control groups are mounted here")


def test_a_proc_that_is_masked_is_refused_and_one_can_go_without(
    rootfs: Path, busybox_rootfs: Path, without_filter: tuple[str, ...]
) -> None:
    refused = nested(rootfs, busybox_rootfs, without_filter, "run", "/inner", "true")
    without = nested(rootfs, busybox_rootfs, without_filter, "run", "--without", "proc", "/inner", "ls", "/proc")

    assert refused.returncode == 125
    assert "a user namespace gets a new /proc only where one is mounted that can be seen whole" in refused.stderr
    assert "--without mask --without readonly; or go without it: --without proc" in refused.stderr
    assert (without.returncode, without.stdout) == (0, "")
    assert "note: /sys is the one outside" in without.stderr and "/sys/firmware" in without.stderr


@pytest.mark.parametrize("flags", ["-r", "-rm", "-rmn", "-rmnp --fork --mount-proc"])
def test_root_that_is_only_called_so_gets_what_an_ordinary_user_gets(ann: Ordinary, flags: str) -> None:
    words = [
        "unshare",
        *flags.split(),
        f"{ann.home}/python/{PYTHON}",
        "-m",
        "scratchlab.cli",
        "run",
        ann.rootfs,
        "bash",
        "-c",
        "id -u",
    ]
    launch = ann.argv("-c", "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])", *words)
    done = subprocess.run(launch, capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
    assert "no limit is set on" in done.stderr
