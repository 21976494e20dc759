"""`scratchlab vm test`: tests run in machines, none is left out, and all that they say comes back."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from scratchlab.vm.testing import KERNEL, LEFT_OUT, SAME_ON_EVERY_KERNEL, of_the_kernel

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

CONFTEST = """
import pytest
@pytest.fixture(scope="session")
def word(): return "said"
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
    assert "as it should" in done.stdout and "1 passed" in done.stdout
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
    for part in filter(None, test.rstrip("]").split("[")):
        assert part in (ROOT / path).read_text()


@pytest.mark.parametrize("name", [*KERNEL, *SAME_ON_EVERY_KERNEL])
def test_what_the_kernel_decides_exists(name: str) -> None:
    assert (ROOT / name).exists()


def test_the_kernels_tests_are_all_notebooks_too() -> None:
    words = of_the_kernel(ROOT)

    assert {path.name for path in ROOT.glob("notebooks/*.ipynb")} == {Path(word).name for word in words if ".ipynb" in word}
    assert {f"--ignore={name}" for name in SAME_ON_EVERY_KERNEL} <= set(words)


def test_each_file_is_run_by_exactly_one_of_two_machines(built: None, checkout: Path) -> None:
    (checkout / "tests/conftest.py").write_text(CONFTEST)
    for number in range(6):
        (checkout / f"tests/test_{number}.py").write_text(GOOD + "\ndef test_that_has_a_fixture(word): assert word == 'said'\n")
    (checkout / "tests/test_ignored.py").write_text(BAD)
    done = vm_test(checkout, "-n", "2", "--memory", "512", "-v", "--ignore=tests/test_ignored.py", "tests")

    assert done.returncode == 0, done.stdout
    reports = (checkout / ".lab/vm-test").glob("junit-*.xml")
    ran = [case.attrib["classname"] for report in reports for case in ElementTree.parse(report).getroot().iter("testcase")]
    assert sorted(ran) == [*(f"tests.test_{number // 2}" for number in range(12)), "tests.test_good"]


def test_a_notebook_that_says_something_else_today_fails(built: None, checkout: Path) -> None:
    (checkout / "tests/test_good.py").unlink()
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": "1 + 1", "execution_count": 1}
    result = {"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": {"text/plain": "3"}}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{**cell, "outputs": [result]}]}
    (checkout / "notebooks").mkdir()
    (checkout / "notebooks/00.ipynb").write_text(json.dumps(notebook))
    done = vm_test(checkout, "-n", "1", "--memory", "512", "--nbval", "--nbval-kernel-name", "python3", "notebooks/00.ipynb")

    assert done.returncode == 1, done.stdout
    assert "1 failed" in done.stdout and "Traceback" not in done.stderr
    assert (checkout / ".lab/vm-test/console-1.log").exists()


def test_a_file_of_tests_that_is_not_there_is_pytests_own_error(built: None, checkout: Path) -> None:
    done = vm_test(checkout, "-n", "1", "--memory", "512", "tests/test_none.py")

    assert done.returncode == 4
    assert "file or directory not found: tests/test_none.py" in done.stdout
