"""A checkout with stand-ins for the programs that ./lab installs things with: they write down what they were called with."""

import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent

# Real programs that ./lab and the stand-ins use. Nothing else is on the PATH, but for the stand-ins and /usr/sbin.
TOOLS = [
    "sh", "cat", "cp", "date", "dirname", "env", "flock", "ln", "mkdir", "nproc", "readlink", "rm", "sha256sum", "sleep", "touch",
    "true",
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
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def lab(self, *words: str, input: str = "", lab: Path | None = None, **environment: str) -> "Ran":
        with self.start(*words, lab=lab, stdin=subprocess.PIPE, **environment) as process:
            out, err = process.communicate(input)
        return Ran(process.returncode, out, err, self.calls())

    def calls(self) -> list[str]:
        """What the stand-ins were called with since the last time."""
        calls = self.logged()
        self.log.unlink(missing_ok=True)
        return [call for call in calls if not call.startswith(("python -c", "sys.exit"))]

    def logged(self) -> list[str]:
        """What the stand-ins have written so far."""
        return self.log.read_text().splitlines() if self.log.exists() else []


class Ran:
    """How one call of ./lab went."""

    def __init__(self, status: int, out: str, err: str, calls: list[str]) -> None:
        self.status, self.out, self.err, self.calls = status, out, err, calls

    def asked(self, words: str) -> bool:
        return any(words in call for call in self.calls)
