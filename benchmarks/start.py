"""How long a container takes from nothing to its command's end, side by side with its peers, in one run.

    sudo .venv/bin/python benchmarks/start.py [--rounds N]

Each round runs every contestant once, in turn, so that a machine that slows down slows all of them. `/bin/true` is a static
busybox. Medians, and the ratio to runc, are what to look at; the machine's own noise is in the quartiles.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from scratchlab import Container, linux
from scratchlab.sandbox import client

SCRATCHLAB = str(Path(sys.executable).with_name("scratchlab"))


class Contestant(NamedTuple):
    name: str
    act: Callable[[], object]


def main() -> None:
    parsed = argparse.ArgumentParser(description=__doc__)
    parsed.add_argument("--rounds", type=int, default=30, help="times that each is run (30)")
    rounds = parsed.parse_args().rounds
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode: without, each start compiles it
    hide_unified()
    with tempfile.TemporaryDirectory(prefix="scratchlab-bench-") as folder:
        contestants = ready(Path(folder))
        times: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
        for contestant in contestants:
            contestant.act()  # once to warm up: files read, modules loaded
        for _ in range(rounds):
            for contestant in contestants:
                start = time.perf_counter()
                contestant.act()
                times[contestant.name].append(time.perf_counter() - start)
    print_table(times)
    print_import_cost()


def hide_unified() -> None:
    """On a hybrid machine crun refuses to run at all: for everybody in this race, the second tree is out of sight."""
    unified = "/sys/fs/cgroup/unified"
    if Path(unified, "cgroup.controllers").exists() and Path("/sys/fs/cgroup/memory").exists():
        linux.unshare(linux.Clone.NEWNS)
        linux.mount(None, "/", None, linux.Mount.REC | linux.Mount.PRIVATE)
        linux.umount2(unified)
        print("hybrid control groups: measured with version 1 alone, because crun does not run otherwise")


def ready(folder: Path) -> list[Contestant]:
    rootfs = make_rootfs(folder / "rootfs")
    client.keeper()
    return [
        Contestant("scratchlab, warm, --network none", library(rootfs, network="none", cpus=None, memory=None, pids=None)),
        Contestant("scratchlab, warm, limits", library(rootfs, network="none")),
        Contestant("scratchlab, warm, --userns auto", library(rootfs, network="none", userns="auto")),
        Contestant("scratchlab, warm, everything", library(rootfs, publish=("18080:80",))),
        Contestant("scratchlab run --network none", command(SCRATCHLAB, "run", "--network", "none", rootfs, "/bin/true")),
        Contestant("scratchlab run -p 18080:80", command(SCRATCHLAB, "run", "-p", "18080:80", rootfs, "/bin/true")),
        *peers(folder, rootfs),
    ]


def library(rootfs: str, **options: object) -> Callable[[], object]:
    container = Container(rootfs, ("/bin/true",), **options)  # type: ignore[arg-type]

    def act() -> None:
        assert container.run().ok

    return act


def command(*words: str) -> Callable[[], object]:
    return lambda: subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def peers(folder: Path, rootfs: str) -> list[Contestant]:
    bundle = make_bundle(folder / "bundle", rootfs)
    found = []
    for runtime in ("runc", "crun"):
        if shutil.which(runtime):
            root = str(folder / f"{runtime}-state")
            found.append(
                Contestant(f"{runtime} run", command(runtime, "--root", root, "run", "--bundle", bundle, f"bench-{os.getpid()}"))
            )
    if shutil.which("bwrap"):
        words = ("bwrap", "--unshare-all", "--bind", rootfs, "/", "--proc", "/proc", "--dev", "/dev", "/bin/true")
        found.append(Contestant("bwrap --unshare-all", command(*words)))
    words = ("unshare", "-muinpCf", "--root", rootfs, "/bin/true")
    found.append(Contestant("unshare -muinpCf --root", command(*words)))
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:
        subprocess.run(["sh", "-c", f"tar -C {rootfs} -c . | docker import - scratchlab-bench"], check=True, capture_output=True)
        found.append(Contestant("docker run --rm", command("docker", "run", "--rm", "scratchlab-bench", "/bin/true")))
    return found


def make_rootfs(path: Path) -> str:
    subprocess.run([SCRATCHLAB, "rootfs", "create", path, "--from", "busybox"], check=True, stdout=subprocess.DEVNULL)
    return str(path)


def make_bundle(path: Path, rootfs: str) -> str:
    """An OCI bundle with the runtime's own default configuration, but without a terminal."""
    path.mkdir()
    subprocess.run(["runc", "spec", "--bundle", path], check=True)
    config = json.loads((path / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["/bin/true"]}
    config["root"] = {"path": rootfs, "readonly": False}
    (path / "config.json").write_text(json.dumps(config))
    return str(path)


def print_table(times: dict[str, list[float]]) -> None:
    base = statistics.median(times["runc run"]) if "runc run" in times else None
    print(f"{'':34} {'median':>8} {'quartiles':>15} {'of runc':>8}")
    for name, seconds in times.items():
        low, middle, high = statistics.quantiles(seconds, n=4)
        ratio = f"{middle / base:8.2f}" if base else ""
        print(f"{name:34} {middle * 1000:5.1f} ms {low * 1000:6.1f} … {high * 1000:5.1f} {ratio}")


def print_import_cost() -> None:
    """`import scratchlab` beyond an empty program, and `from scratchlab import Sandbox, stages` beyond it."""
    programs = ("pass", "import scratchlab", "from scratchlab import Sandbox, stages")
    seconds: dict[str, list[float]] = {program: [] for program in programs}
    for _ in range(15):
        for program in programs:
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            seconds[program].append(time.perf_counter() - start)
    bare = statistics.median(seconds["pass"])
    for program in programs[1:]:
        print(f"{program:50} +{(statistics.median(seconds[program]) - bare) * 1000:.1f} ms beyond `python -c pass`")


if __name__ == "__main__":
    main()
