"""The table of system calls: it is what the kernel's headers say, for both machines."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from scratchlab.errors import HostError
from scratchlab.linux import numbers
from tests.conftest import needs

TOOL = Path(__file__).resolve().parents[2] / "tools/syscall_numbers.py"

has_headers = needs(
    Path("/usr/include/asm-generic/unistd.h").exists() and shutil.which("cpp"),
    "needs kernel headers and a C preprocessor: apt-get install linux-libc-dev cpp",
)


def tool() -> object:
    spec = importlib.util.spec_from_file_location("syscall_numbers", TOOL)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@has_headers
@pytest.mark.parametrize("machine", numbers.MACHINES)
def test_the_table_is_what_the_installed_headers_say(machine: str) -> None:
    if machine == "x86_64" and not Path(tool().X86_64).exists():  # type: ignore[attr-defined]
        pytest.skip("needs the headers of x86_64: run it on such a machine")
    said = getattr(tool(), machine)()
    ours = numbers.table(machine)

    assert len(said) > 300
    assert {name: ours.get(name) for name in said} == said
    # What we know beyond them is newer than they are, and the same on all machines.
    newer = {name: number for name, number in ours.items() if name not in said}
    assert all(number > max(said.values()) for number in newer.values())
    assert newer.items() <= numbers.table("aarch64").items()


@has_headers
def test_the_file_is_what_the_tool_would_write() -> None:
    columns = numbers.table("x86_64"), numbers.table("aarch64")
    text = (Path(numbers.__file__).parent / "numbers.txt").read_text()

    assert tool().written(*columns) == text  # type: ignore[attr-defined]


def test_another_machine_is_refused_by_name() -> None:
    with pytest.raises(HostError, match="riscv64"):
        numbers.table("riscv64")
