"""Jupyter's list of kernels has ours after an installation, and not after their removal; and the two that need no machine."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scratchlab.shared import run_directory
from scratchlab.vm import kernelspecs
from tests.command_line import ENVIRONMENT, ROOT, complains, said
from tests.conftest import needs_root
from tests.vm.kernels import started

NAMES = ["scratchlab", "scratchlab-local", "scratchlab-rootless"]


@pytest.fixture
def jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's directory of Jupyter's, and no other one that has kernels of ours."""
    monkeypatch.setitem(ENVIRONMENT, "JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setitem(ENVIRONMENT, "JUPYTER_PREFER_ENV_PATH", "0")  # an environment that ./lab made has them, too
    monkeypatch.delitem(ENVIRONMENT, "JUPYTER_PATH", raising=False)
    return tmp_path / "jupyter"


def listed() -> dict[str, str]:
    """What Jupyter itself says: kernels, and where they are."""
    command = [sys.executable, "-m", "jupyter", "kernelspec", "list", "--json"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return {name: spec["resource_dir"] for name, spec in json.loads(done.stdout)["kernelspecs"].items()}


def test_jupyter_lists_what_was_installed_until_it_is_removed(jupyter: Path) -> None:
    places = said("kernel", "install", "--user").split()
    assert places == [str(jupyter / "kernels" / name) for name in NAMES]
    found = listed()
    assert [found[name] for name in NAMES] == places
    assert [line.split()[0] for line in said("kernel", "list").splitlines() if str(jupyter) in line] == NAMES

    assert said("kernel", "install", "--user").split() == places  # twice is as good as once
    assert said("kernel", "remove", "--user").split() == places
    assert str(jupyter) not in said("kernel", "list") + said("kernel", "remove", "--user")
    assert not [place for place in listed().values() if str(jupyter) in place]


def test_an_environment_gets_them_where_its_own_jupyter_looks() -> None:
    assert kernelspecs.place(user=False, prefix=True) == Path(sys.prefix, "share", "jupyter")


def test_only_those_that_are_named_are_installed_and_with_what_was_asked(jupyter: Path) -> None:
    said("kernel", "install", "--user", "--memory", "1024", "--network", "user", "scratchlab")
    spec = json.loads((jupyter / "kernels/scratchlab/kernel.json").read_text())

    assert spec["argv"][0] == sys.executable
    assert spec["argv"][1:] == ["-m", "scratchlab.vm.kernel", "--memory", "1024", "--network", "user", "{connection_file}"]
    assert spec["interrupt_mode"] == "message"
    assert [path.name for path in (jupyter / "kernels").iterdir()] == ["scratchlab"]


def test_a_kernel_whose_python_is_gone_is_told(jupyter: Path) -> None:
    said("kernel", "install", "--user", "scratchlab")
    path = jupyter / "kernels/scratchlab/kernel.json"
    path.write_text(path.read_text().replace(sys.executable, "/gone/python"))

    assert "/gone/python is gone" in said("kernel", "list")


@pytest.mark.parametrize("text", ["{", "[]", '{"argv": null}', '{"argv": ["python", "-m", "scratchlab.vm.kernel"]}'])
def test_a_damaged_kernel_of_somebody_elses_is_left_alone(jupyter: Path, text: str) -> None:
    damaged = jupyter / "kernels/scratchlab/kernel.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text(text)

    assert str(jupyter) not in said("kernel", "list") + said("kernel", "remove", "--user")
    assert damaged.read_text() == text


def test_a_kernel_of_somebody_elses_is_left_alone(jupyter: Path) -> None:
    theirs = jupyter / "kernels/scratchlab-mine/kernel.json"
    theirs.parent.mkdir(parents=True)
    theirs.write_text('{"argv": ["python"], "display_name": "mine", "language": "python"}')
    (jupyter / "kernels/scratchlab").mkdir()
    (jupyter / "kernels/scratchlab/kernel.json").write_text("{")
    said("kernel", "install", "--user", "scratchlab-local")

    assert str(jupyter / "kernels/scratchlab-local") in said("kernel", "remove", "--user").split()
    assert theirs.exists() and (jupyter / "kernels/scratchlab/kernel.json").exists()


def test_bad_input_gets_a_message(jupyter: Path) -> None:
    complains(2, "no kernel 'other'", "kernel", "install", "--user", "other")
    complains(2, "not a size", "kernel", "install", "--user", "--memory", "much")
    complains(2, "not a size", "kernel", "install", "--user", "--memory", "²")
    jupyter.write_text("a file")
    complains(125, "cannot write in", "kernel", "install", "--user")


def test_a_wheel_brings_the_same_kernels() -> None:
    shared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]

    assert shared == {"scratchlab/vm/jupyter/kernels": "share/jupyter/kernels"}
    assert kernelspecs.names() == NAMES
    for path in (ROOT / "scratchlab/vm/jupyter/kernels").glob("*/kernel.json"):
        # jupyter_client puts its own Python in the place of this word.
        assert json.loads(path.read_text())["argv"][0] == "python"


# -- on this machine itself -------------------------------------------------------------------------------------------

_WHO = "import os; print(os.getuid(), os.getpid(), os.readlink('/proc/self/ns/user'))"


@needs_root
def test_the_local_kernel_is_root_on_this_machine(specs: Path, tmp_path: Path) -> None:
    with started(specs, tmp_path, "scratchlab-local") as kernel:
        assert kernel.cell(_WHO).text == f"0 {kernel.pid} {os.readlink('/proc/self/ns/user')}"


@needs_root
def test_the_rootless_kernel_is_root_of_a_user_namespace_and_process_1(specs: Path, tmp_path: Path) -> None:
    with started(specs, tmp_path, "scratchlab-rootless") as kernel:
        uid, pid, namespace = kernel.cell(_WHO).text.split()
        assert (uid, pid) == ("0", "1") and namespace != os.readlink("/proc/self/ns/user")
        assert kernel.cell("import ctypes; ctypes.CDLL(None).sethostname(b'mine', 4)").text == "-1"
        number = kernel.begin("import time; time.sleep(1000)")
        assert kernel.interrupt(number)["ename"] == "KeyboardInterrupt"
        shown = kernel.cell("from scratchlab import Sandbox, stages\nbox = Sandbox(); box.apply(stages.unshare_uts)")
        assert "uts namespace" in shown.text, shown
        # Neither side takes the other's sandboxes for those of a dead program.
        assert not list(run_directory().glob(f"{kernel.cell('print(box.name)').text}.journal"))
        assert kernel.cell("from scratchlab import journal; print(*[entry.name for entry in journal.journals()])").text == "box"
        kernel.restart(now=True)
        assert kernel.cell("1").text == "1"
