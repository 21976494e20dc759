"""./lab in a checkout of its own, with stand-ins for the programs that install things: what it calls, and what it says.

The real thing, with the real pip, is what `.ci/run` does before it can run this file.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent.parent

# Real programs that ./lab and the stand-ins use. Nothing else is on the PATH, but for the stand-ins and /usr/sbin.
TOOLS = [
    "sh", "cat", "cp", "date", "dirname", "env", "flock", "ln", "mkdir", "readlink", "rm", "sha256sum", "sleep", "touch", "true",
]  # fmt: skip

PYTHON = """#!/bin/sh
echo "python $*" >>"$LOG"
case "$1 $2" in
"-c "*) echo "${PYTHON_SAYS:-$0}"; [ -z "${PYTHON_SAYS-}" ] ;;
"--version "*) echo "Python 3.9.2" ;;
"-m venv")
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    cp "$STAND_INS/scratchlab" "$STAND_INS/ruff" "$STAND_INS/mypy" "$STAND_INS/pytest" "$3/bin/"
    echo "version = 3.11.7" >"$3/pyvenv.cfg"
    ;;
"-m pip") cat >/dev/null; echo "pip speaks"; eval "${PIP_DOES:-true}" ;;
esac
"""

SCRATCHLAB = """#!/bin/sh
echo "scratchlab $*" >>"$LOG"
case "$1" in
rootfs) mkdir -p "$3" ;;
cat) cat ;;
frobnicate) exit 2 ;;
esac
"""

LOGGED = """#!/bin/sh
echo "${0##*/} $*" >>"$LOG"
"""

APT_GET = """#!/bin/sh
echo "apt-get $*" >>"$LOG"
case "$*" in *" update") touch "$STAND_INS/fetched" ;; esac
[ -z "${LISTS_ARE_OLD-}" ] || [ -e "$STAND_INS/fetched" ] || exit 100
ln -sf "$(command -v true)" "$STAND_INS/busybox"
"""


class Checkout:
    """A copy of ./lab that finds stand-ins for python3, pip, apt-get and scratchlab, and the log that they write."""

    def __init__(self, root: Path) -> None:
        self.root = root / "a check out"
        self.stand_ins = root / "stand-ins"
        self.log = root / "log"
        self.root.mkdir()
        self.stand_ins.mkdir()
        for name in ("lab", "pyproject.toml"):
            shutil.copy(HERE / name, self.root)
        for tool in TOOLS:
            (self.stand_ins / tool).symlink_to(str(shutil.which(tool)))
        needs = re.findall(r"([\w-]+):[\w-]+", (HERE / "lab").read_text().partition("say()")[0].partition("RUN_NEEDS")[2])
        for name in [*needs, "ruff", "mypy", "pytest"]:
            if not (self.stand_ins / name).exists():
                self.stand_in(name, LOGGED)
        self.stand_in("python3", PYTHON)
        self.stand_in("scratchlab", SCRATCHLAB)
        self.stand_in("id", "#!/bin/sh\necho 0\n")
        self.stand_in("apt-get", APT_GET)

    def stand_in(self, name: str, text: str) -> None:
        path = self.stand_ins / name
        path.write_text(text)
        path.chmod(0o755)

    def change_dependencies(self) -> None:
        (self.root / "pyproject.toml").write_text("others")

    def start(
        self, *words: str, lab: Path | None = None, stdin: int = subprocess.DEVNULL, **environment: str
    ) -> "subprocess.Popen[str]":
        variables = {"PATH": str(self.stand_ins), "LOG": str(self.log), "STAND_INS": str(self.stand_ins), **environment}
        return subprocess.Popen(
            [lab or self.root / "lab", *words], env=variables, cwd="/", text=True,
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def lab(self, *words: str, input: str = "", lab: Path | None = None, **environment: str) -> "Ran":
        with self.start(*words, lab=lab, stdin=subprocess.PIPE, **environment) as process:
            out, err = process.communicate(input)
        return Ran(process.returncode, out, err, self.calls())

    def calls(self) -> list[str]:
        """What the stand-ins were called with since the last time."""
        calls = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [call for call in calls if not call.startswith(("python -c", "sys.exit"))]


class Ran:
    """How one call of ./lab went."""

    def __init__(self, status: int, out: str, err: str, calls: list[str]) -> None:
        self.status, self.out, self.err, self.calls = status, out, err, calls

    def asked(self, words: str) -> bool:
        return any(words in call for call in self.calls)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_the_first_call_sets_up_and_then_gives_the_tour(checkout: Checkout) -> None:
    ran = checkout.lab()

    rootfs = f"{checkout.root}/.lab/rootfs"
    assert ran.status == 0
    assert ran.calls[0] == f"python -m venv {checkout.root}/.venv"
    assert all(call.startswith("python -m pip install") for call in ran.calls[1:4])
    assert ran.calls[4].startswith(f"scratchlab rootfs create {rootfs} --from host bash sh")
    assert ran.calls[5:] == [f"scratchlab tour {rootfs}"]


def test_set_up_says_what_it_installs_and_keeps_out_of_standard_output(checkout: Checkout) -> None:
    ran = checkout.lab("ps")

    assert ".venv" in ran.err and "pyproject.toml" in ran.err and ".lab/rootfs" in ran.err
    assert ran.out == ""


def test_the_second_call_installs_nothing(checkout: Checkout) -> None:
    checkout.lab("ps")

    ran = checkout.lab("ps")

    assert (ran.calls, ran.err) == (["scratchlab ps"], "")


def test_tests_need_more_than_the_main_job_and_bring_it_along(checkout: Checkout) -> None:
    checkout.lab("ps")

    assert checkout.lab("test").asked(":dev")
    assert checkout.lab("test").calls[0].startswith("ruff")
    assert checkout.lab("ps").calls == ["scratchlab ps"]


def test_changed_dependencies_are_installed(checkout: Checkout) -> None:
    checkout.lab("ps")
    checkout.change_dependencies()

    assert checkout.lab("ps").asked("-m pip install")


def test_a_moved_checkout_gets_its_packages_again(checkout: Checkout) -> None:
    checkout.lab("ps")
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))

    assert checkout.lab("ps").asked("-m pip install")


def test_any_word_goes_to_scratchlab_with_its_arguments_and_its_exit_status_comes_back(checkout: Checkout) -> None:
    ran = checkout.lab("frobnicate", "a  b", "*")

    assert ran.calls[-1] == "scratchlab frobnicate a  b *"
    assert ran.status == 2


def test_standard_input_is_for_the_container_and_not_for_the_set_up(checkout: Checkout) -> None:
    assert checkout.lab("cat", input="for the container").out == "for the container"


def test_help_sets_nothing_up(checkout: Checkout) -> None:
    ran = checkout.lab("help")

    assert "./lab run" in ran.out and ran.status == 0
    assert not (checkout.root / ".venv").exists()


def test_a_symbolic_link_leads_to_the_checkout(checkout: Checkout) -> None:
    link = checkout.root.parent / "elsewhere"
    link.symlink_to(checkout.root / "lab")

    checkout.lab("ps", lab=link)

    assert (checkout.root / ".venv").is_dir()


def test_a_killed_set_up_is_begun_again(checkout: Checkout) -> None:
    checkout.lab("ps")
    checkout.change_dependencies()
    killed = checkout.lab("ps", PIP_DOES="kill -KILL $PPID")
    assert killed.status == 137 and not killed.asked("scratchlab ps")

    ran = checkout.lab("ps")

    assert ran.asked("-m venv") and ran.calls[-1] == "scratchlab ps"


def test_without_a_package_index_what_was_set_up_before_is_kept(checkout: Checkout) -> None:
    checkout.lab("ps")
    checkout.change_dependencies()

    failed = checkout.lab("ps", PIP_DOES="exit 1")

    assert failed.status == 1 and "pip failed" in failed.err
    assert not checkout.lab("ps").asked("-m venv")


def test_two_at_once_set_up_once(checkout: Checkout) -> None:
    both = [checkout.start("ps", PIP_DOES="sleep 0.2") for _ in range(2)]
    said = [process.communicate()[1] for process in both]

    calls = checkout.calls()
    assert [process.returncode for process in both] == [0, 0]
    assert sum("-m venv" in call for call in calls) == 1
    assert calls.count("scratchlab ps") == 2
    assert sum("waiting" in err for err in said) == 1


def test_root_installs_the_missing_packages_and_no_others(checkout: Checkout) -> None:
    (checkout.stand_ins / "busybox").unlink()

    ran = checkout.lab("ps")

    assert "installing Debian packages: busybox-static\n" in ran.err
    assert [call.split(" install ")[1] for call in ran.calls if call.startswith("apt-get")] == ["busybox-static"]


def test_package_lists_are_fetched_only_where_it_does_not_work_without(checkout: Checkout) -> None:
    (checkout.stand_ins / "busybox").unlink()

    ran = checkout.lab("ps", LISTS_ARE_OLD="1")

    assert re.findall("apt-get.* (install|update)", "\n".join(ran.calls)) == ["install", "update", "install"]
    assert ran.status == 0


def test_who_may_not_install_is_told_the_command(checkout: Checkout) -> None:
    (checkout.stand_ins / "busybox").unlink()
    checkout.stand_in("id", "#!/bin/sh\necho 1000\n")

    ran = checkout.lab("ps")

    assert ran.err.endswith("\n    sudo apt-get install busybox-static\n")
    assert (ran.status, ran.calls) == (1, [])


def test_where_there_is_no_apt_the_packages_are_named(checkout: Checkout) -> None:
    (checkout.stand_ins / "busybox").unlink()
    (checkout.stand_ins / "apt-get").unlink()

    ran = checkout.lab("ps")

    assert "no apt-get" in ran.err and "busybox-static" in ran.err
    assert (ran.status, ran.calls) == (1, [])


def test_an_old_python_is_named_and_refused(checkout: Checkout) -> None:
    ran = checkout.lab("ps", PYTHON_SAYS="True")

    assert ran.err == "lab: Scratchlab needs Python 3.11 or newer, and found only: Python 3.9.2\n"
    assert (ran.status, ran.calls) == (1, ["python --version"])


def test_a_python_without_venv_is_completed_by_a_package(checkout: Checkout) -> None:
    assert checkout.lab("ps", PYTHON_SAYS="False").asked("install python3-venv")


def test_all_checks_run_even_if_one_fails_and_the_exit_status_says_so(checkout: Checkout) -> None:
    checkout.stand_in("mypy", "#!/bin/sh\nexit 1\n")

    ran = checkout.lab("test", "-k", "a b")

    assert ran.status == 1
    assert ran.calls[-3:] == ["ruff check", "ruff format --check", "pytest -k a b"]
    assert re.findall(r"(\w+) +(passed|FAILED) +\d+ s", ran.out) == [
        ("lint", "passed"), ("format", "passed"), ("types", "FAILED"), ("tests", "passed")
    ]  # fmt: skip


def test_the_documentation_is_built_and_what_builds_it_is_installed_once(checkout: Checkout) -> None:
    first = checkout.lab("docs")
    checkout.stand_in("sphinx-build", LOGGED)
    shutil.move(checkout.stand_ins / "sphinx-build", checkout.root / ".venv/bin")

    again = checkout.lab("docs")

    build = f"python {checkout.root}/tools/docs.py build {checkout.root}/.lab/docs"
    assert first.calls[-2:] == [
        f"python -m pip install --quiet --disable-pip-version-check --group {checkout.root}/pyproject.toml:docs",
        build,
    ]
    assert again.calls == [build]


def test_continuous_integration_does_what_a_developer_does() -> None:
    commands = [line for line in (HERE / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]

    assert os.access(HERE / ".ci/run", os.X_OK)
    assert commands == ["set -eu", 'cd "$(dirname "$0")/.."', "exec ./lab test"]
