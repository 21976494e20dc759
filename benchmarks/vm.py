"""How long a machine takes: built, booted, restored, and how much memory some of them need.

    .venv/bin/python benchmarks/vm.py [--rounds N] [--build] [--machines N…]

Needs no root. `--build` builds an image and takes a snapshot in a cache directory of its own, which fetches packages.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from scratchlab.vm import Machine, accelerator, image, qemu, snapshot
from scratchlab.vm.hardware import Hardware


def main() -> None:
    parsed = argparse.ArgumentParser(description=__doc__)
    parsed.add_argument("--rounds", type=int, default=9, help="times that each is done (9)")
    parsed.add_argument("--build", action="store_true", help="build an image and take a snapshot, too")
    parsed.add_argument("--machines", type=int, nargs="*", default=[1, 5, 20], help="how many to weigh at once (1 5 20)")
    options = parsed.parse_args()
    if options.build:
        build()
    Machine.start().close()
    show("restored, to the first command's end", [timed(lambda: one(cold=False)) for _ in range(options.rounds)])
    show("booted, to the first command's end", [timed(lambda: one(cold=True)) for _ in range(3)])
    with Machine.start() as machine:
        show("one more command", [timed(lambda: machine.run(["true"])) for _ in range(options.rounds)])
        show("copied in: 200 files, 1.3 MB", [timed(lambda: push(machine)) for _ in range(3)])
    for count in options.machines:
        weigh(count)


def build() -> None:
    with tempfile.TemporaryDirectory(prefix="scratchlab-bench-") as folder:
        before = os.environ.get("XDG_CACHE_HOME")
        os.environ["XDG_CACHE_HOME"] = folder
        show("image built from nothing", [timed(image.have)])
        made = image.have()
        program = qemu.have(made.machine)
        parts = Hardware(made.machine, accelerator.choose(program, made))
        show("snapshot taken", [timed(lambda: snapshot.have(program, parts, made))])
        del os.environ["XDG_CACHE_HOME"]
        os.environ.update({"XDG_CACHE_HOME": before} if before else {})


def one(cold: bool) -> None:
    with Machine.start(cold=cold) as machine:
        machine.run(["true"])


def push(machine: Machine) -> None:
    with tempfile.TemporaryDirectory(prefix="scratchlab-bench-") as folder:
        for number in range(200):
            (Path(folder) / str(number)).write_bytes(os.urandom(6500))
        machine.push(Path(folder), "/root/in")


def timed(act: Callable[[], object]) -> float:
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def show(what: str, times: list[float]) -> None:
    print(f"{what:40} {statistics.median(times):6.2f} s   {min(times):6.2f} … {max(times):.2f}  (n={len(times)})", flush=True)


def weigh(count: int) -> None:
    """What QEMU's memory is, by the kernel's own account: private to one, and its share of what all have.  proc_pid_smaps(5)"""
    with ExitStack() as machines:
        running = [machines.enter_context(Machine.start()) for _ in range(count)]
        for machine in running:
            machine.run(["true"])
        rows = [memory(machine.pid) for machine in running]
    private = statistics.median(row["Private_Dirty"] + row["Private_Clean"] for row in rows)
    print(
        f"{count:3} machines: {private:5.0f} MB private, {statistics.median(row['Pss'] for row in rows):5.0f} MB PSS each",
        flush=True,
    )


def memory(pid: int) -> dict[str, float]:
    lines = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]]
    return {words[0].rstrip(":"): int(words[1]) / 1024 for words in lines}


if __name__ == "__main__":
    main()
