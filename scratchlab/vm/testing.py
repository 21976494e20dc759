"""The tests of a checkout, run as root in machines that nothing can hurt: `scratchlab vm test`."""

import codecs
import io
import itertools
import json
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from scratchlab.display import UNATTENDED
from scratchlab.errors import InputError, ScratchlabError
from scratchlab.vm.conversation import Ending, ending_of
from scratchlab.vm.guest import frames
from scratchlab.vm.machine import Machine
from scratchlab.vm.progress import for_terminal

_PLACE = "/root/checkout"
_RESULTS = "/root/results"
_PUSHED = ("tests", "benchmarks", "pyproject.toml", "lab", "notebooks", "tools", "docs", "README.md")
_ENVIRONMENT = {
    "SCRATCHLAB_MUST_WORK": "1", UNATTENDED: "1", "TMPDIR": "/var/tmp", "TERM": "xterm", "XDG_DATA_HOME": "/var/tmp/data",
    "IPYTHONDIR": "/var/tmp/ipython",
}  # fmt: skip
_NO_TESTS = 5  # pytest's exit status when its share is empty

# What a guest is too small for: machines, a package source, git, a browser, a compiler, Docker and podman, perl, script(1), a
# bomb of two gigabytes.
LEFT_OUT = (
    "tests/vm", "tests/lab", "tests/test_lab.py", "tests/test_structure.py", "tests/rootfs/test_debian.py",
    "tests/lessons/test_browser.py", "tests/views/test_browser.py", "tests/linux/test_numbers.py",
    "tests/compare/test_compare_docker.py",
    "tests/compare/test_compare.py::test_a_container_of_podman_is_read",
    "tests/compare/test_judges.py::test_podman_is_asked_too_and_leaves_nothing",
    "tests/compare/test_judges.py::test_docker_is_asked_too_and_binds_nobody",
    "tests/attacks/test_walls.py::test_the_default_limits_hold_in_their_full_height",
    "tests/test_rootless.py::test_the_command_gets_a_terminal_of_its_own",
    "tests/rootfs/test_host.py::test_perl_comes_with_its_modules",
    "tests/rootfs/test_executable.py::test_the_loader_is_the_one_that_readelf_names",
)  # fmt: skip

# The tests whose outcome the kernel decides, so that another kernel may decide otherwise: they isolate, limit, attack, observe.
# What only reads text, draws, checks arguments, keeps a journal or speaks to a person says the same everywhere
# (docs/decisions/0021).
KERNEL = (
    "tests/attacks", "tests/errors", "tests/linux", "tests/observe", "tests/sandbox", "tests/stages",
    "tests/lessons/test_beliefs.py", "tests/lessons/test_exercises.py",
    "tests/test_container.py", "tests/test_nested.py", "tests/test_network_container.py", "tests/test_rootless.py",
    "tests/test_rootless_limits.py", "tests/test_security.py", "tests/test_shared.py", "tests/test_terminal.py",
    "tests/views/test_live.py", "tests/views/test_live_pictures.py",
)  # fmt: skip
SAME_ON_EVERY_KERNEL = (
    "tests/attacks/test_ablation.py", "tests/attacks/test_scoreboard.py",  # tables of what test_walls.py tries one by one
    "tests/errors/test_finders.py", "tests/lessons/test_copies.py", "tests/linux/test_nftrace.py", "tests/linux/test_proc.py",
    "tests/observe/test_diff.py",
    "tests/sandbox/test_wire.py", "tests/stages/test_arguments.py", "tests/stages/test_engines_profile.py",
    "tests/stages/test_profiles.py",
)  # fmt: skip
_NBVAL = ("--nbval", "--nbval-sanitize-with", "notebooks/sanitize.cfg", "--nbval-kernel-name", "python3",
          "--nbval-cell-timeout", "120")  # fmt: skip


def of_the_kernel(checkout: Path) -> list[str]:
    """pytest's words for the tests whose outcome the kernel decides, and for every notebook with nbval."""
    notebooks = sorted(path.relative_to(checkout).as_posix() for path in checkout.glob("notebooks/*.ipynb"))
    return [*_NBVAL, *(f"--ignore={name}" for name in SAME_ON_EVERY_KERNEL), *KERNEL, *notebooks]


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
        numbers = itertools.count()
        with ThreadPoolExecutor(self.guests) as pool:
            try:
                for number in range(1, self.guests + 1):
                    about = f"tests {number}/{self.guests}"
                    machines.append(Machine.start(memory=self.memory, about=about, progress=for_terminal(), say=say))
                shares = [
                    pool.submit(self._share, machine, number, archive, numbers) for number, machine in enumerate(machines, 1)
                ]
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

    def _share(self, machine: Machine, number: int, archive: bytes, files: Iterator[int]) -> int:
        """Run one machine's share, and bring its results back."""
        machine.unpack(io.BytesIO(archive), _PLACE)
        machine.run(["sh", "-c", f"mkdir -p {_RESULTS} && ln -sfn /opt/scratchlab/scratchlab {_PLACE}/scratchlab"])
        try:
            done = self._talk(machine, number, files)
            with tempfile.TemporaryDirectory(dir=self.results) as fetched:
                machine.fetch(_RESULTS, Path(fetched))
                for path in Path(fetched, "results").iterdir():
                    path.replace(self.results / path.name)
        except ScratchlabError:
            self._keep_console(machine, number)
            raise
        if done.code not in (0, _NO_TESTS):
            self._keep_console(machine, number)
        return done.code

    def _talk(self, machine: Machine, number: int, files: Iterator[int]) -> Ending:
        """Run pytest in the machine, print what it says, and deal it a file whenever it asks for one (guest/deal.py)."""
        printer = _Printer(number, self.guests)
        env = {**_ENVIRONMENT, "COVERAGE_FILE": f"{_RESULTS}/coverage-{number}"}
        with machine.open(self._command(number), env=env, cwd=_PLACE) as session:
            for kind, body in chain.from_iterable(iter(session.receive, None)):
                if kind == frames.END:
                    return ending_of(json.loads(body))
                # Anywhere in it: a child that a test has left behind may write at the same moment.
                if kind == frames.ERRORS and frames.NEXT_FILE in body:
                    session.feed(b"%d\n" % next(files))
                    body = body.replace(frames.NEXT_FILE, b"")
                printer(body)
        raise AssertionError("a session ends with its END")

    def _command(self, number: int) -> list[str]:
        measured = ["-m", "coverage", "run", "--source", "scratchlab"] if self.coverage else []
        left_out = [f"--deselect={name}" if "::" in name else f"--ignore={name}" for name in LEFT_OUT]
        plugins = ["-p", "no:cacheprovider", "-p", "scratchlab.vm.guest.deal", "-o", "console_output_style=classic"]
        results = f"--junit-xml={_RESULTS}/junit-{number}.xml"
        return ["python3", *measured, "-m", "pytest", *plugins, *left_out, results, *self.words]

    def _keep_console(self, machine: Machine, number: int) -> None:
        kernel = machine.run(["dmesg"]).out if machine.alive else ""
        (self.results / f"console-{number}.log").write_text(machine.console() + kernel + "\n")


_printing = threading.Lock()


class _Printer:
    """Prints what one machine says, line by line if there are several, with its number."""

    def __init__(self, number: int, of: int) -> None:
        self._prefix = f"[{number}] " if of > 1 else ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""

    def __call__(self, data: bytes) -> None:
        text = self._decoder.decode(data)
        if self._prefix:
            *lines, self._line = (self._line + text).split("\n")
            text = "".join(f"{self._prefix}{line}\n" for line in lines)
        with _printing:
            sys.stdout.write(text)
            sys.stdout.flush()


def _without_made_files(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    member.uid = member.gid = 0
    return None if "__pycache__" in member.name or ".ipynb_checkpoints" in member.name else member
