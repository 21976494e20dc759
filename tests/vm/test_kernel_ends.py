"""However a kernel's machine ends, the cell that ran says why; and however Jupyter ends, nothing stays behind."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from scratchlab.vm import cache, registry
from tests.conftest import eventually
from tests.vm.kernels import Kernel, started

ROOT = Path(__file__).resolve().parents[2]

_EAT = "held = []\nwhile True: held.append(b'x' * (1 << 20))"
ENDS = {
    "out of memory": (_EAT, "the Jupyter kernel in the machine was killed, because its 512 MB of memory ran out"),
    "panic": ("open('/proc/sysrq-trigger', 'w').write('c')", "the machine has ended: its kernel panicked: sysrq triggered crash"),
    "power off": ("open('/proc/sysrq-trigger', 'w').write('o'); input()", "the machine has ended: it powered off or rebooted"),
    "exit": ("import os; os._exit(3)", "the Jupyter kernel in the machine ended with status 3"),
    "kill": ("import os; os.kill(os.getpid(), 9)", "the Jupyter kernel in the machine was killed by SIGKILL"),
}


@pytest.mark.parametrize("code, cause", ENDS.values(), ids=ENDS)
def test_the_cell_that_ran_when_a_machine_ended_says_why(kernel: Kernel, code: str, cause: str) -> None:
    error = kernel.cell(code).error
    assert error.startswith(f"GoneError: {cause}")
    assert "restart the kernel" in error

    # So do later ones, until a restart; nothing of the machine is left meanwhile.
    assert kernel.cell("1").error == error
    assert [entry for entry in registry.entries() if entry.facts.get("owner") == kernel.pid] == []
    assert cause in (cache.cache() / "kernel.log").read_text()
    kernel.restart()
    assert kernel.cell("1").text == "1"


def test_a_qemu_that_is_killed_is_told_in_the_cell(kernel: Kernel) -> None:
    number = kernel.begin("import time; time.sleep(1000)")
    os.kill(kernel.qemu, signal.SIGKILL)

    assert "QEMU was killed by SIGKILL" in kernel.end(number)["evalue"]


def test_a_machine_that_ends_between_two_cells_is_told_in_the_next(kernel: Kernel) -> None:
    os.kill(kernel.qemu, signal.SIGKILL)

    assert "QEMU was killed by SIGKILL" in kernel.cell("1").error


def test_exit_in_a_cell_ends_the_kernel_as_anywhere(kernel: Kernel) -> None:
    kernel.client.execute("import os; os._exit(0)")

    assert not eventually(kernel.manager.is_alive, False)


def test_a_machine_that_cannot_start_is_told_in_the_cell(specs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("not a directory")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with started(specs, tmp_path) as kernel:
        error = kernel.cell("1").error

    assert error.startswith("HostError: cannot make the cache directory") and "set XDG_CACHE_HOME" in error


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_launcher_that_is_killed_takes_its_machine_with_it(kernel: Kernel, number: int) -> None:
    qemu = kernel.qemu
    os.kill(kernel.pid, number)

    assert not eventually(Path(f"/proc/{qemu}").exists, False)


_JUPYTER = """
import signal, sys
from pathlib import Path
from tests.vm.kernels import Kernel
kernel = Kernel(Path(sys.argv[1]), "scratchlab", Path(sys.argv[2]))
kernel.start()
print(kernel.pid, kernel.qemu, flush=True)
kernel.begin("import time; time.sleep(1000)")
print("running", flush=True)
signal.pause()
"""


def test_a_jupyter_that_is_killed_takes_launcher_and_machine_with_it(built: None, specs: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _JUPYTER, str(specs), str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as jupyter:
        assert jupyter.stdout
        pids = [int(word) for word in jupyter.stdout.readline().split()]
        assert jupyter.stdout.readline() == "running\n"
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        jupyter.kill()

    assert eventually(lambda: [pid for pid in pids if Path(f"/proc/{pid}").exists()], []) == []


def test_a_port_that_somebody_took_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        facts = {f"{channel}_port": 0 for channel in ("control", "stdin", "hb", "iopub")} | {"shell_port": taken, "key": "k"}
        (tmp_path / "connection.json").write_text(json.dumps(facts))
        command = [sys.executable, "-m", "scratchlab.vm.kernel", str(tmp_path / "connection.json")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert f"127.0.0.1:{taken}" in done.stderr and "took the port" in done.stderr and "Traceback" not in done.stderr


def test_a_port_that_the_kernel_before_still_holds_is_waited_for(built: None, specs: Path, tmp_path: Path) -> None:
    kernel = Kernel(specs, "scratchlab", tmp_path)
    kernel.manager.write_connection_file()
    with socket.create_server(("127.0.0.1", kernel.manager.shell_port)):
        kernel.manager.start_kernel(cwd=str(tmp_path))
    kernel.client = kernel.manager.client()
    kernel.client.start_channels()
    try:
        kernel.client.wait_for_ready(timeout=100)
        assert kernel.cell("1").text == "1"
    finally:
        kernel.stop()
