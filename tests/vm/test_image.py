"""An image: what is in it, how it is built, and what happens when it cannot be."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scratchlab.errors import HostError, InputError
from scratchlab.vm import cache, cpio, image, packages, progress, tree
from scratchlab.vm.recipe import Recipe
from tests.command_line import ENVIRONMENT, ROOT
from tests.conftest import eventually, needs

# -- its parts --------------------------------------------------------------------------------------------------------


def test_a_recipe_has_another_name_when_anything_in_it_changes() -> None:
    recipe = Recipe(suite="bookworm")

    assert recipe.hash == Recipe(suite="bookworm").hash
    others = [Recipe(suite="trixie"), replace(recipe, packages=("dash",)), Recipe("aarch64", suite="bookworm")]
    assert len({recipe.hash, *(other.hash for other in others)}) == 4


def test_there_is_no_recipe_for_a_machine_that_we_never_tried() -> None:
    with pytest.raises(InputError, match="no recipe for a 'vax' machine"):
        Recipe("vax")


def test_an_archive_is_what_cpio_unpacks(tmp_path: Path) -> None:
    entries = [cpio.directory("bin"), cpio.file("bin/run", b"#!/bin/sh\n", 0o755), cpio.file("odd", b"12345")]
    (tmp_path / "a.cpio").write_bytes(cpio.archive(entries))
    busybox = shutil.which("busybox")
    assert busybox
    with (tmp_path / "a.cpio").open("rb") as stream:
        subprocess.run([busybox, "cpio", "-id"], cwd=tmp_path, stdin=stream, check=True, capture_output=True)

    assert (tmp_path / "bin/run").read_bytes() == b"#!/bin/sh\n"
    assert os.access(tmp_path / "bin/run", os.X_OK)
    assert (tmp_path / "odd").read_bytes() == b"12345"


def module(directory: Path, name: str, needs: str = "", signed: bool = False) -> Path:
    path = directory / f"{name}.ko"
    signature = b"SIGN" + bytes(8) + b"\0\0\0\x04~Module signature appended~\n"
    path.write_bytes(b"ELF\0depends=" + needs.encode() + b"\0name=x\0" + (signature if signed else b""))
    return path


def test_modules_are_loaded_after_those_that_they_need(tmp_path: Path) -> None:
    needed = {
        "nf_nat": "nf_conntrack",
        "nf_conntrack": "libcrc32c",
        "libcrc32c": "",
        "nft_nat": "nf_nat,nf-tables",
        "nf_tables": "",
    }
    files = {name: module(tmp_path, name, what) for name, what in needed.items()}

    assert tree.with_dependencies(files, ["nft-nat", "built_in"]) == [
        "libcrc32c",
        "nf_conntrack",
        "nf_nat",
        "nf_tables",
        "nft_nat",
    ]


def test_what_is_written_with_holes_is_read_without(tmp_path: Path) -> None:
    content = b"a" * 10 + bytes(3 << 20) + b"b" + bytes(2 << 20)
    (tmp_path / "source").write_bytes(content)
    cache.copy_sparse(tmp_path / "source", tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == content
    assert (tmp_path / "target").stat().st_blocks < (tmp_path / "source").stat().st_blocks


def test_a_directory_that_grows_has_no_name_until_it_is_complete(tmp_path: Path) -> None:
    with pytest.raises(ValueError), cache.built_aside(tmp_path / "made") as place:
        (place / "file").touch()
        raise ValueError
    assert list(tmp_path.iterdir()) == []

    with cache.built_aside(tmp_path / "made") as place:
        (place / "file").touch()
        assert not (tmp_path / "made").exists()
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["file"]


def test_what_is_made_anew_takes_the_place_of_the_old_only_when_it_is_complete(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made/old").touch()
    with pytest.raises(ValueError), cache.built_aside(tmp_path / "made", replaces=True):
        raise ValueError
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["old"]

    with cache.built_aside(tmp_path / "made", replaces=True) as place:
        (place / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "new"]


def test_an_image_that_lacks_something_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = image.images() / image.recipe_here("x86_64").hash
    place.mkdir(parents=True)
    assert image.find("x86_64") is None

    (place / "image.json").write_text('{"machine": "x86_64"}')
    assert image.find("x86_64") is None
    for name in ("vmlinuz", "initrd", "disk"):
        (place / name).touch()
    found = image.find("x86_64")
    assert found and found.directory == place


def test_what_a_killed_build_left_is_removed_and_what_another_one_makes_is_not(tmp_path: Path) -> None:
    (tmp_path / ".image.4194303").mkdir()  # a number that no process can have
    (tmp_path / f".image.{os.getppid()}").mkdir()
    cache.remove_unfinished(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [f".image.{os.getppid()}"]


def test_progress_is_one_line_with_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    progress.bar("packages", 30_000_000, 60_000_000)
    progress.bar("packages", 60_000_000, 60_000_000)

    first, second = capsys.readouterr().err.split("\r")[1:]
    assert "████████████░░░░░░░░░░░░  30.0 of 60.0 MB" in first
    assert second.endswith(" 60.0 of 60.0 MB\n")


# -- when it cannot be built ------------------------------------------------------------------------------------------


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_a_system_without_apt_is_told_where_to_build(no_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(HostError, match="this machine has no apt-get") as raised:
        image.have()
    assert "vm export FILE" in raised.value.hint and "vm import FILE" in raised.value.hint


def test_a_full_disk_is_told_before_anything_is_fetched(no_cache: Path) -> None:
    with pytest.raises(HostError, match=r"building an image needs .* MB are free"):
        cache.need_space(no_cache, 1 << 60, "building an image")


def test_a_cache_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nothing")

    with pytest.raises(HostError, match="cannot make the cache directory /proc/nothing"):
        cache.cache()


def test_without_a_network_the_build_says_so(no_cache: Path) -> None:
    # In a network namespace that nothing was put into; what this machine has fetched before is not used.
    words = ["unshare", "--net", sys.executable, "-m", "scratchlab.cli", "vm", "build"]
    done = subprocess.run(words, cwd=ROOT, env={**ENVIRONMENT, "XDG_CACHE_HOME": str(no_cache)}, capture_output=True, text=True)

    assert done.returncode == 125
    assert (
        done.stderr.startswith("scratchlab: could not fetch the lists of packages: ")
        and "this needs the network once" in done.stderr
    )
    assert "Traceback" not in done.stderr


def test_an_image_that_cannot_be_built_again_stays(no_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = image.images() / image.recipe_here().hash
    place.mkdir(parents=True)
    (place / "disk").touch()
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(HostError, match="no apt-get"):
        image.rebuild()
    assert (place / "disk").exists()


def test_packages_that_no_source_has_are_told(no_cache: Path) -> None:
    if packages.missing():
        pytest.skip("needs apt-get: run it on a Debian or Ubuntu")
    apt = packages.Apt(no_cache / "work", Recipe().debian)
    with pytest.raises(HostError, match="have none of: no-such-kernel, nor-this"):
        apt.first_known(["no-such-kernel", "nor-this"])


# -- built for real ---------------------------------------------------------------------------------------------------

# This test's own Python may lie in a directory of root's.
PYTHON = "/usr/bin/python3"
PYTHON_HAS_PIP = os.path.exists(PYTHON) and not subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode

_AS_NOBODY = """
import os, sys
sys.dont_write_bytecode = True
os.setgroups([]), os.setresgid(65534, 65534, 65534), os.setresuid(65534, 65534, 65534)
from scratchlab.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A home for an ordinary user who may make no user namespace. Not in pytest's directory, which is root's alone."""
    with tempfile.TemporaryDirectory(prefix="scratchlab-test-", dir="/var/tmp") as made:
        Path(made).chmod(0o755)
        for name in ("cache", "bin"):
            Path(made, name).mkdir()
        Path(made, "cache").chmod(0o777)
        Path(made, "bin/unshare").write_text("#!/bin/sh\nexit 1\n")
        Path(made, "bin/unshare").chmod(0o755)
        shutil.copytree(ROOT / "scratchlab", Path(made, "src/scratchlab"), ignore=shutil.ignore_patterns("__pycache__"))
        yield Path(made)


@needs(os.geteuid() == 0, "needs root, to become an ordinary user: run as `sudo ./lab test`")
@needs(not packages.missing() and PYTHON_HAS_PIP, "needs apt-get, and pip for everybody: apt-get install python3-pip")
def test_an_ordinary_user_builds_one_is_interrupted_and_builds_on(home: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(home / "src"), "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"),
                   "PATH": f"{home / 'bin'}:{os.environ['PATH']}"}  # fmt: skip

    def command(*words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen([PYTHON, "-c", _AS_NOBODY, "vm", *words], cwd="/", env=environment,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip

    # Ctrl-C when the first archives are there: what was fetched stays, what was half made does not.
    first = command("build")
    archives = home / "cache/scratchlab/vm/fetched"
    assert eventually(lambda: len(list(archives.glob("*/archives/*.deb"))) > 3, True, patience=120)
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=60)
    assert first.returncode == 130 and "Traceback" not in err, err
    assert list(archives.glob("*/archives/*.deb"))
    assert list((home / "cache/scratchlab/vm").glob("images/*")) == []

    with command("run", "--", "sh", "-c", "id -u; stat -c %u /etc/passwd /usr/bin/bash; stat -c %A /usr/bin/mount") as second:
        out, err = second.communicate(timeout=300)
    assert (second.returncode, out.split()) == (0, ["0", "0", "0", "-rwsr-xr-x"]), err
    assert not list(archives.glob("*"))
