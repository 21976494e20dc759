"""The tests of a checkout, run as root in machines that nothing can hurt: `scratchlab vm test`."""

import io
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from scratchlab.errors import InputError, ScratchlabError
from scratchlab.vm.machine import Machine
from scratchlab.vm.progress import for_terminal

_PLACE = "/root/checkout"
_RESULTS = "/root/results"
_PUSHED = ("tests", "benchmarks", "pyproject.toml", "lab", "notebooks", "tools", "docs", "README.md")
_NO_TESTS = 5  # pytest's exit status when its share is empty

# What is no test of the kernel's, and wants what a guest is too small for: machines, a package source, git, a browser, a
# compiler, Docker and podman, perl.
LEFT_OUT = (
    "tests/vm", "tests/test_lab.py", "tests/test_structure.py", "tests/rootfs/test_debian.py", "tests/lessons/test_browser.py",
    "tests/views/test_browser.py", "tests/linux/test_numbers.py", "tests/compare/test_compare_docker.py",
    "tests/compare/test_compare.py::test_a_container_of_podman_is_read",
    "tests/compare/test_judges.py::test_podman_is_asked_too_and_leaves_nothing",
    "tests/compare/test_judges.py::test_docker_is_asked_too_and_binds_nobody",
    "tests/rootfs/test_host.py::test_perl_comes_with_its_modules",
    "tests/rootfs/test_executable.py::test_the_loader_is_the_one_that_readelf_names",
)  # fmt: skip


class Run(NamedTuple):
    """One run of tests, by one machine or several."""

    checkout: Path
    words: list[str]
    guests: int
    memory: int
    results: Path
    coverage: bool

    def go(self, say: Callable[[str], Any]) -> int:
        """Run them. Gives the worst of pytest's exit statuses; results are in files then."""
        if not (self.checkout / "tests").is_dir():
            raise InputError(f"there are no tests in {self.checkout}", "go to a checkout of Scratchlab")
        self.results.mkdir(parents=True, exist_ok=True)
        for old in self.results.glob("*-[0-9]*"):
            old.unlink()
        archive = self._archive()
        machines: list[Machine] = []
        with ThreadPoolExecutor(self.guests) as pool:
            try:
                for number in range(1, self.guests + 1):
                    about = f"tests {number}/{self.guests}"
                    machines.append(Machine.start(memory=self.memory, about=about, progress=for_terminal(), say=say))
                shares = [pool.submit(self._share, machine, number, archive) for number, machine in enumerate(machines, 1)]
                statuses = [share.result() for share in shares]
            finally:
                for machine in machines:
                    machine.close()
        say(f"results are in {self.results}")
        return max((status for status in statuses if status != _NO_TESTS), default=_NO_TESTS)

    def _archive(self) -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name in _PUSHED:
                if (path := self.checkout / name).exists():
                    archive.add(path, name, filter=_without_made_files)
        return stream.getvalue()

    def _share(self, machine: Machine, number: int, archive: bytes) -> int:
        """Run one machine's share, and bring its results back."""
        machine.unpack(io.BytesIO(archive), _PLACE)
        machine.run(["sh", "-c", f"mkdir -p {_RESULTS} && ln -sfn /opt/scratchlab/scratchlab {_PLACE}/scratchlab"])
        env = {"SCRATCHLAB_MUST_WORK": "1", "SCRATCHLAB_SHARD": f"{number}/{self.guests}", "TMPDIR": "/var/tmp",
               "COVERAGE_FILE": f"{_RESULTS}/coverage-{number}", "TERM": "xterm"}  # fmt: skip
        try:
            done = machine.run(self._command(number), env=env, cwd=_PLACE, stream=_Printer(number, self.guests))
            with tempfile.TemporaryDirectory(dir=self.results) as fetched:
                machine.fetch(_RESULTS, Path(fetched))
                for path in Path(fetched, "results").iterdir():
                    path.replace(self.results / path.name)
        except ScratchlabError:
            self._keep_console(machine, number)
            raise
        if not done.ok and done.status != _NO_TESTS:
            self._keep_console(machine, number)
        return done.code

    def _command(self, number: int) -> list[str]:
        measured = ["-m", "coverage", "run", "--source", "scratchlab"] if self.coverage else []
        plugins = ["-p", "no:cacheprovider", "-p", "scratchlab.vm.guest.shard"]
        left_out = [f"--deselect={name}" if "::" in name else f"--ignore={name}" for name in LEFT_OUT]
        return [
            "python3",
            *measured,
            "-m",
            "pytest",
            *plugins,
            *left_out,
            f"--junit-xml={_RESULTS}/junit-{number}.xml",
            *self.words,
        ]

    def _keep_console(self, machine: Machine, number: int) -> None:
        kernel = machine.run(["dmesg"]).out if machine.alive else ""
        (self.results / f"console-{number}.log").write_text(machine.console() + kernel + "\n")


_printing = threading.Lock()


class _Printer:
    """Prints what one machine says, line by line if there are several, with its number."""

    def __init__(self, number: int, of: int) -> None:
        self._prefix = f"[{number}] " if of > 1 else ""
        self._line = ""

    def __call__(self, text: str) -> None:
        if self._prefix:
            *lines, self._line = (self._line + text).split("\n")
            text = "".join(f"{self._prefix}{line}\n" for line in lines)
        with _printing:
            sys.stdout.write(text)
            sys.stdout.flush()


def _without_made_files(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    member.uid = member.gid = 0
    return None if "__pycache__" in member.name or ".ipynb_checkpoints" in member.name else member
