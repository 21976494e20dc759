"""Python packages for the guest's own Python, chosen by this machine's pip, whatever Python this machine has.  pip(1)"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scratchlab.errors import HostError

# Oldest first; glibc promises that what was built against an older one works.
_PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_24", "manylinux_2_27", "manylinux_2_28", "manylinux_2_31",
              "manylinux_2_34")  # fmt: skip


def install(wheels: Sequence[str], to: Path, machine: str, python: str) -> None:
    """Install `wheels` into the directory `to` for a CPython such as "3.11". Raises HostError."""
    version = python.replace(".", "")
    platforms = [word for name in _PLATFORMS for word in ("--platform", f"{name}_{machine}")]
    command = [
        *_pip(), "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-compile", "--target", str(to),
        "--only-binary=:all:", "--implementation", "cp", "--python-version", python, "--abi", f"cp{version}", *platforms, *wheels,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        # Where pip itself fails, what it says of it stands at the end of a traceback.
        errors = [line for line in lines if line.startswith("ERROR") and not line.endswith("Exception:")] or lines
        raise HostError(
            f"pip could not fetch Python packages for the guest: {errors[-1] if errors else 'it did not say why'}",
            "this needs a package index once; try `pip download ipykernel`",
        )


def _pip() -> list[str]:
    for command in ([sys.executable, "-m", "pip"], ["python3", "-m", "pip"], ["pip3"]):
        try:
            if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode == 0:
                return command
        except OSError:
            continue
    raise HostError("this Python has no pip, which fetches the guest's Python packages", f"{sys.executable} -m ensurepip")
