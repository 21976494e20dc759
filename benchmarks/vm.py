"""How long a machine takes to be ready, to be clean again, and to run a lesson; and how much memory it costs.

    .venv/bin/python benchmarks/vm.py [--rounds N] [--build]

No root is needed. Each figure is the median of its rounds, with the quartiles; what has an aim says it, and whether it is met.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager

from scratchlab.vm import Machine, accelerator, image, kernelspecs, qemu, snapshot
from scratchlab.vm.hardware import Hardware

ROOT = Path(__file__).resolve().parents[1]

# What a lesson's cells do, and works here as well as there: files, processes, and this library's own import.
LESSON = [
    "import os, subprocess",
    "from scratchlab import Sandbox, stages",
    "from scratchlab.linux import proc",
    "open('note.txt', 'w').write('x' * 1000)",
    "subprocess.run(['true']).returncode",
    "sorted(os.listdir('/proc/self/ns'))[:3]",
    "sum(range(100_000))",
    "subprocess.run(['echo', 'hello'], capture_output=True, text=True).stdout",
    "len(stages.STAGES) > 40",
    "os.remove('note.txt')",
]
VM_BUILD = "from scratchlab.cli import main; main(['vm', 'build'])"
SANDBOX = "import time; t = time.perf_counter(); box = Sandbox(); d = time.perf_counter() - t; box.close(); print(d)"


class Row(NamedTuple):
    name: str
    values: list[float]
    unit: str = "s"
    aim: float | None = None

    def __str__(self) -> str:
        low, middle, high = statistics.quantiles(self.values, n=4) if len(self.values) > 1 else self.values * 3
        verdict = "" if self.aim is None else f"  aim {self.aim:g}: {'met' if middle <= self.aim else 'MISSED'}"
        return f"{self.name:46} {middle:8.2f} {self.unit:2} {low:8.2f} … {high:6.2f}{verdict}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="times that each is measured (9)")
    parser.add_argument("--build", action="store_true", help="also build an image from nothing, which needs the network")
    options = parser.parse_args()
    Machine.start().close()  # whatever is missing is made now
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, {_hardware()}\n{'':46} {'median':>11} {'quartiles':>15}")
    with tempfile.TemporaryDirectory(prefix="scratchlab-bench-") as folder:
        for row in rows(Path(folder), options.rounds, options.build):
            print(row, flush=True)


def _hardware() -> str:
    found = image.have()
    program = qemu.have(found.machine)
    return f"QEMU {program.version}, {accelerator.choose(program, found)}"


def rows(folder: Path, rounds: int, build: bool) -> Iterator[Row]:
    specs = folder / "jupyter"
    kernelspecs.install(specs, ["scratchlab"], [])
    os.environ["JUPYTER_PATH"] = str(specs)
    if build:
        yield Row("image, built from nothing", [timed(build_image, folder, "from scratchlab.vm import image; image.have()")])
        yield Row("the rest of `vm build`: trial of KVM, snapshot", [timed(build_image, folder, VM_BUILD)])
    yield Row("snapshot, taken", [timed(take_snapshot, folder / str(number)) for number in range(min(rounds, 3))])
    yield Row("machine, from the snapshot to a command", [timed(start_machine) for _ in range(rounds)])
    yield Row("machine, booted, to a command", [timed(start_machine, True) for _ in range(min(rounds, 3))])
    with Machine.start() as machine:
        yield Row("one more command", [timed(machine.run, ["true"]) for _ in range(rounds)])
        yield Row("200 files, 1.3 MB, into it", [timed(push, machine) for _ in range(3)])
    yield from kernel_rows(specs / "kernels", folder, rounds)
    yield from lesson_rows(folder, min(rounds, 5))
    for count in (1, 5, 20):
        yield from memory_rows(count)


def timed(act: Callable[..., object], *words: Any) -> float:
    begin = time.perf_counter()
    act(*words)
    return time.perf_counter() - begin


def build_image(folder: Path, program: str) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)


def take_snapshot(place: Path) -> None:
    place.mkdir()
    found = image.have()
    program = qemu.have(found.machine)
    hardware = Hardware(found.machine, accelerator.choose(program, found))
    snapshot._fill(place, program, hardware, found, lambda *_: None)


def start_machine(cold: bool = False) -> None:
    with Machine.start(cold=cold) as machine:
        assert machine.run(["true"]).ok


def push(machine: Machine) -> None:
    with tempfile.TemporaryDirectory(prefix="scratchlab-bench-") as folder:
        for number in range(200):
            (Path(folder) / str(number)).write_bytes(os.urandom(6500))
        machine.push(Path(folder), "/root/in")


# -- the kernel -------------------------------------------------------------------------------------------------------


def kernel_rows(specs: Path, folder: Path, rounds: int) -> Iterator[Row]:
    starts, firsts, boxes, restarts, stops = [], [], [], [], []
    for _ in range(rounds):
        with kernel(specs, folder) as (manager, client, started):
            starts.append(started)
            firsts.append(timed(client.execute_interactive, "from scratchlab import Sandbox"))
            boxes.append(1000 * float(printed(client, SANDBOX)))
            restarts.append(timed(restart, manager, client))
            stops.append(timed(manager.shutdown_kernel))
    yield Row("kernel, from start to its first answer", starts, aim=0.8)
    yield Row("first cell: from scratchlab import Sandbox", firsts)
    yield Row("first Sandbox() in it", boxes, "ms", aim=100)
    yield Row("restart, to the first answer", restarts, aim=1.2)
    yield Row("shutdown", stops)


@contextmanager
def kernel(specs: Path, folder: Path) -> Iterator[tuple[KernelManager, Any, float]]:
    finder = KernelSpecManager(kernel_dirs=[str(specs)], ensure_native_kernel=False)
    manager = KernelManager(kernel_name="scratchlab", kernel_spec_manager=finder)
    begin = time.perf_counter()
    manager.start_kernel(cwd=str(folder))
    client = manager.client()
    client.start_channels()
    client.kernel_info(reply=True, timeout=60)
    try:
        yield manager, client, time.perf_counter() - begin
    finally:
        client.stop_channels()
        if manager.is_alive():
            manager.shutdown_kernel()


def restart(manager: KernelManager, client: Any) -> None:
    manager.restart_kernel()
    client.kernel_info(reply=True, timeout=60)


def printed(client: Any, code: str) -> str:
    said: list[str] = []
    client.execute_interactive(code, output_hook=lambda message: said.append(message["content"].get("text", "")))
    return "".join(said)


# -- a lesson ---------------------------------------------------------------------------------------------------------


def lesson_rows(folder: Path, rounds: int) -> Iterator[Row]:
    cells = [nbformat.v4.new_code_cell(source) for source in LESSON]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "lesson.ipynb")
    for name, where in (("python3", "on this machine"), ("scratchlab", "in the VM")):
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-kernel-name", name]
        command = [*words, str(folder / "lesson.ipynb")]
        seconds = [timed(run_quietly, command, folder) for _ in range(rounds)]
        yield Row(f"nbval, {len(LESSON)} cells, {where}", seconds)


def run_quietly(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, capture_output=True, check=True)


# -- memory -----------------------------------------------------------------------------------------------------------


# What a machine adds is its anonymous memory: QEMU's heap, and the pages of the guest's memory that it changed. The others are
# pages of the snapshot's file in the page cache, there once for all machines, and the first to go when memory is short. While one
# machine is alone, proc_pid_smaps(5) calls those private as well; so "private" is not what is measured.
def memory_rows(count: int) -> Iterator[Row]:
    with ThreadPoolExecutor(4) as pool:
        machines = list(pool.map(lambda _: Machine.start(), range(count)))
    try:
        for machine in machines:
            machine.start_kernel("k")
            machine.run(["true"])
        own = [rollup(machine.pid, "Anonymous:") for machine in machines]
        mapped = [rollup(machine.pid, "Rss:") - memory for machine, memory in zip(machines, own, strict=True)]
        yield Row(f"memory of its own, each of {count}", own, "MB", aim=80)
        yield Row(f"pages of files, most shared by all {count}", mapped, "MB")
        yield Row(f"fair share (PSS) of each of {count}", [rollup(machine.pid, "Pss:") for machine in machines], "MB")
    finally:
        for machine in machines:
            machine.close()


def rollup(pid: int, begin: str) -> float:
    """Megabytes of a process.  proc_pid_smaps(5)"""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(begin)) / 1000


if __name__ == "__main__":
    main()
