"""The files in binder/ as a hosted service runs them: an ordinary user, one CPU, 2 GB, no /dev/kvm, no right over anything."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from scratchlab.vm import image
from tests.command_line import ROOT, scratchlab
from tests.conftest import needs, needs_root
from tests.vm.machines import HAS_MACHINES, NO_MACHINES

pytestmark = [needs_root, needs(HAS_MACHINES, NO_MACHINES), needs(shutil.which("qemu-system-x86_64"), "needs qemu-system-x86")]

USER, HOME = 1000, "/home/learner"
PREFIX = f"{HOME}/env"  # where pip installs, for the container's Python cannot be written to
SITE = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"

# Both files as they are. That pip has no network is said by its own environment variables.
BOTH = """
set -e
cd "$HOME/checkout"
binder/postBuild
test ! -e "$HOME/.cache/scratchlab/vm/snapshots"
cd "$HOME/lesson"
exec "$HOME/checkout/binder/start" python -c 'from nbclient.cli import main; main()' --inplace lesson.ipynb
"""

ENVIRONMENT = {
    "PATH": f"{PREFIX}/bin:/opt/python/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "HOME": HOME,
    "PYTHONPATH": f"{PREFIX}/{SITE}:/opt/site",
    "JUPYTER_PATH": f"{PREFIX}/share/jupyter",
    "PIP_PREFIX": PREFIX,
    "PIP_NO_INDEX": "1",
    "PIP_NO_DEPS": "1",
    "PIP_NO_BUILD_ISOLATION": "0",  # which means, in pip's own words, that there is none
    "PIP_IGNORE_INSTALLED": "1",
}


@pytest.fixture(scope="module")
def rootfs(built: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """This machine's programs, to be read only; and a home with a checkout, a notebook, and an image that was built before."""
    root = tmp_path_factory.mktemp("binder")
    for name in ("etc", "tmp", "var/tmp", "proc", "sys", "dev", "usr", "opt/python", "opt/site", HOME[1:], f"{HOME[1:]}/lesson"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "etc/passwd").write_text(f"root:x:0:0::/root:/bin/sh\nlearner:x:{USER}:{USER}::{HOME}:/bin/sh\n")
    shutil.copy("/etc/os-release", root / "etc")  # whose packages a machine gets; so an image is known by it
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    root.chmod(0o755)
    home = root / HOME[1:]
    _checkout(home / "checkout")
    _lesson(home / "lesson")
    found = image.find()
    assert found
    place = home / ".cache/scratchlab/vm/images"
    place.mkdir(parents=True)
    subprocess.run(["cp", "-r", "--sparse=always", str(found.directory), str(place)], check=True)
    subprocess.run(["chown", "-R", f"{USER}:{USER}", str(home)], check=True)
    yield root
    shutil.rmtree(root)


def _checkout(place: Path) -> None:
    listing = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)


def _lesson(place: Path) -> None:
    (place / "data.txt").write_text("beside the notebook")
    cells = [
        "import os; print(os.getuid(), open('data.txt').read())",
        "from scratchlab import Sandbox, stages\nbox = Sandbox(); box.apply(stages.unshare_mount)",
        "box.run('mount', '-t', 'tmpfs', 'x', '/mnt').ok",
    ]
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    made.metadata.kernelspec = {"name": "scratchlab", "display_name": "Scratchlab (root VM)", "language": "python"}
    nbformat.write(made, place / "lesson.ipynb")


def test_a_hosted_service_builds_and_starts_it_and_runs_a_lesson(rootfs: Path) -> None:
    volumes = {"/usr": "/usr", sys.base_prefix: "/opt/python", sysconfig.get_path("purelib"): "/opt/site"}
    words = [word for source, target in volumes.items() for word in ("-v", f"{os.path.realpath(source)}:{target}:ro")]
    words += [word for name, value in ENVIRONMENT.items() for word in ("-e", f"{name}={value}")]
    limits = ["--user", f"{USER}:{USER}", "--memory", "2G", "--cpus", "1", "--network", "none"]
    done = scratchlab("run", *limits, *words, "-w", HOME, rootfs, "/bin/bash", "-c", BOTH, timeout=600)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Linux" in done.stdout
    assert (rootfs / HOME[1:] / "checkout/lessons/index.md").is_file()
    cells = nbformat.read(rootfs / HOME[1:] / "lesson/lesson.ipynb", as_version=4).cells
    assert cells[0].outputs[0].text == "0 beside the notebook\n"
    assert cells[2].outputs[0].data["text/plain"] == "True"


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_what_the_service_executes_can_be_executed_and_stops_at_a_failure(name: str) -> None:
    path = ROOT / "binder" / name

    assert os.access(path, os.X_OK)
    assert "set -euo pipefail" in path.read_text()
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_a_post_build_whose_image_cannot_be_built_fails(tmp_path: Path) -> None:
    (tmp_path / "scratchlab").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python").write_text("#!/bin/sh\nexit 0\n")
    for path in tmp_path.iterdir():
        path.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}

    assert subprocess.run([str(ROOT / "binder/postBuild")], env=environment, cwd=tmp_path, check=False).returncode == 1
