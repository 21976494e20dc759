"""Programs that do for us what we have no right to."""

import os
from pathlib import Path

import pytest

from scratchlab.errors import HostError, KernelError
from scratchlab.linux import programs


def test_a_program_that_cannot_be_executed_is_an_error_and_leaves_no_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\0")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(KernelError, match="ENOEXEC"):
        programs.run("broken")

    assert len(os.listdir("/proc/self/fd")) == before


def test_what_a_program_said_is_in_the_error() -> None:
    with pytest.raises(HostError, match="No such file"):
        programs.run("ls", "/no/such/place")
    with pytest.raises(HostError, match="not installed"):
        programs.run("no-such-program")
