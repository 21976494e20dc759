"""`scratchlab vm test`: tests run in machines, none is left out, and all that they say comes back."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from scratchlab.vm.guest.shard import share
from scratchlab.vm.testing import LEFT_OUT

ROOT = Path(__file__).resolve().parents[2]

GOOD = """
import os
def test_one_is_root_in_a_machine_that_can_be_thrown_away():
    assert os.geteuid() == 0 and "scratchlab.disposable=1" in open("/proc/cmdline").read()
    assert os.environ["SCRATCHLAB_MUST_WORK"] == "1"
"""
BAD = """
import os
def test_that_fails():
    os.write(os.open("/dev/kmsg", os.O_WRONLY), b"<1>last words of the kernel\\n")
    assert False, "as it should"
"""


def vm_test(checkout: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "scratchlab.cli", "vm", "test", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_good.py").write_text(GOOD)
    return tmp_path


def test_tests_that_pass_leave_their_results(built: None, checkout: Path) -> None:
    done = vm_test(checkout, "-n", "1", "--memory", "512", "--coverage", "-q")

    assert (done.returncode, done.stderr) == (0, "scratchlab: results are in .lab/vm-test\n"), done.stdout
    assert "1 passed" in done.stdout
    results = checkout / ".lab/vm-test"
    assert ElementTree.parse(results / "junit-1.xml").getroot()[0].attrib["tests"] == "1"
    assert {path.name for path in results.iterdir()} == {"junit-1.xml", "coverage-1"}


def test_two_machines_share_the_work_and_a_failure_keeps_the_console(built: None, checkout: Path) -> None:
    (checkout / "tests/test_bad.py").write_text(BAD)
    done = vm_test(checkout, "-n", "2", "--memory", "512", "-q")

    assert done.returncode == 1
    assert {line[:3] for line in done.stdout.splitlines()} == {"[1]", "[2]"}
    assert "as it should" in done.stdout and done.stdout.count("1 passed") == 1
    (console,) = (checkout / ".lab/vm-test").glob("console-*.log")
    assert "last words of the kernel" in console.read_text()


def test_a_directory_without_tests_is_refused(tmp_path: Path) -> None:
    done = vm_test(tmp_path)

    assert done.returncode == 2
    assert "there are no tests in" in done.stderr


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_of_a_machine_exists(name: str) -> None:
    path, _, test = name.partition("::")

    assert (ROOT / path).exists()
    assert test in (ROOT / path).read_text() if test else True


def test_modules_are_divided_evenly_and_each_exactly_once() -> None:
    modules = {f"test_{number}.py": number for number in range(1, 12)}
    shares = share(modules, 3)

    assert set().union(*shares) == set(modules)
    assert sum(len(share) for share in shares) == len(modules)
    assert (
        max(sum(modules[name] for name in share) for share in shares)
        - min(sum(modules[name] for name in share) for share in shares)
        <= 2
    )
