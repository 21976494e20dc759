"""`scratchlab lab`: it prints an address, opens lessons in the kernel that was asked for, and ends without a trace."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from scratchlab.vm import registry
from tests.command_line import ENVIRONMENT, complains
from tests.conftest import eventually, needs_root
from tests.lab.served import Served, gone, lab
from tests.ports import free_port

LESSON = "00-this-machine.ipynb"
WHERE = "(os.getuid(), os.getpid(), os.uname().nodename)"


def browser(folder: Path) -> dict[str, str]:
    """A browser that writes down what it was told to open."""
    program, log = folder / "browser", folder / "opened"
    program.write_text(f'#!/bin/sh\necho "$1" >{log}.new && mv {log}.new {log}\n')
    program.chmod(0o755)
    return {"BROWSER": f"{program} %s"}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One that runs lessons on this machine itself, on a computer without a screen."""
    place = tmp_path_factory.mktemp("local")
    with lab(place / "mine", "--local", **browser(place)) as served:
        yield served


# -- what is served ---------------------------------------------------------------------------------------------------


@needs_root
def test_the_address_lets_in_and_nobody_gets_in_without_it(local: Served) -> None:
    assert "index.md" in local.address and "?token=" in local.address
    assert {"index.md", LESSON} <= {file["name"] for file in local.ask("contents")["content"]}
    with pytest.raises(HTTPError, match="403"):
        local.ask("contents", token=False)


@needs_root
def test_nobody_else_on_this_machine_can_read_the_token(local: Served) -> None:
    token = local.address.rpartition("=")[2].encode()

    assert token not in Path(f"/proc/{local.process.pid}/cmdline").read_bytes()
    assert local.runtime.stat().st_mode & 0o077 == 0  # where it stands in a file that a browser is started with


@needs_root
def test_local_means_this_machine_and_the_learners_file_is_the_same(local: Served) -> None:
    kernel = local.open(LESSON)
    uid, pid, host = local.value(kernel, WHERE)

    assert (uid, host) == (0, os.uname().nodename)
    assert os.path.exists(f"/proc/{pid}/ns/uts") and os.readlink(f"/proc/{pid}/ns/uts") == os.readlink("/proc/self/ns/uts")
    assert local.ask("kernelspecs")["kernelspecs"]["scratchlab"]["spec"]["display_name"] == "Scratchlab (this machine, as root)"


def test_otherwise_a_lesson_runs_in_a_machine_of_its_own_that_ends_with_it(built: None, tmp_path: Path) -> None:
    nothing_installed = {"JUPYTER_DATA_DIR": str(tmp_path / "data"), "JUPYTER_PATH": ""}
    with lab(tmp_path / "mine", "--no-browser", **nothing_installed) as served:
        kernels = served.ask("kernelspecs")
        assert kernels["default"] == "scratchlab"
        assert {"scratchlab", "scratchlab-local", "scratchlab-rootless"} <= set(kernels["kernelspecs"])

        assert served.value(served.open(LESSON), WHERE)[::2] == (0, "lab")
        qemu = registry.of_notebook("00").facts["qemu"]
        said = served.end(signal.SIGINT)

    assert (served.process.returncode, said.splitlines()[-1]) == (0, f"scratchlab: ended. Your lessons are in {tmp_path}/mine")
    assert gone(qemu)


# -- how it ends ------------------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_no_kernel_outlives_it_however_it_ends(number: int, tmp_path: Path) -> None:
    with lab(tmp_path / "mine", "--local", "--no-browser", "--port", free_port()) as served:
        pid = served.value(served.open(LESSON), WHERE)[1]
        served.end(number)

    assert served.process.returncode == (0 if number != signal.SIGKILL else -number)
    assert gone(pid)
    assert number == signal.SIGKILL or list((tmp_path / "runtime").glob("jpserver-*")) == []


# -- ports and browsers -----------------------------------------------------------------------------------------------


@needs_root
def test_a_second_one_takes_another_port_and_opens_a_browser_where_there_is_a_screen(local: Served, tmp_path: Path) -> None:
    with lab(tmp_path / "mine", "--local", DISPLAY=":0", **browser(tmp_path)) as served:
        assert port_of(served) != port_of(local)
        assert {"index.md"} <= {file["name"] for file in served.ask("contents")["content"]}
        assert eventually((tmp_path / "opened").exists)

    assert not (local.runtime.parent / "opened").exists()


def port_of(served: Served) -> str:
    return served.address.partition("//")[2].partition("/")[0].rpartition(":")[2]


@needs_root
def test_a_port_that_is_taken_is_said_if_it_was_asked_for(local: Served) -> None:
    port = port_of(local)
    complains(125, f"cannot listen at port {port}: Address already in use", "lab", "--local", "--no-browser", "--port", port)


@pytest.mark.parametrize("word", ["0", "65536", "http", "²", "-1"])
def test_what_is_no_port_is_refused(word: str) -> None:
    complains(2, "not a port", "lab", f"--port={word}")


# -- who may not, and what is missing ---------------------------------------------------------------------------------


@needs_root
def test_an_ordinary_user_who_wants_this_machine_itself_is_told_why_not() -> None:
    complains(125, "--local: the lessons need root on this machine, and you are user 65534", "lab", "--local", nobody=True)


def test_where_there_is_no_jupyterlab_the_command_to_get_it_is_said(tmp_path: Path) -> None:
    program = "import sys; sys.modules['jupyterlab'] = None; from scratchlab.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "lab", "--folder", str(tmp_path / "mine")]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)

    assert done.returncode == 125
    assert done.stderr.endswith(f"  hint: {sys.executable} -m pip install jupyterlab\n")
    assert not (tmp_path / "mine").exists()
