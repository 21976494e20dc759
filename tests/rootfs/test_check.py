"""Before a container starts: can this root filesystem run that command, and if not, what exactly is missing?"""

import os
import shutil
from pathlib import Path

import pytest

from scratchlab import linux
from scratchlab.errors import InputError
from scratchlab.linux import Mount
from scratchlab.rootfs import CommandError, CommandNotExecutableError, CommandNotFoundError, check_rootfs
from tests.conftest import in_child, needs, needs_root
from tests.rootfs.inside import private_mounts

needs_busybox = needs(os.path.exists("/bin/busybox"), "needs a static busybox: apt-get install busybox-static")
pytestmark = needs_busybox

BASH = os.path.realpath(shutil.which("bash") or "/bin/bash")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root filesystem by hand: one static program, called sh."""
    for name in ("bin", "usr/bin", "etc"):
        (tmp_path / "root" / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", tmp_path / "root/bin/sh")
    return tmp_path / "root"


def put(path: Path, text: str, mode: int = 0o755) -> None:
    path.write_text(text)
    path.chmod(mode)


def refusal(root: Path | str, command: str, kind: type[InputError] = InputError) -> str:
    with pytest.raises(kind) as caught:
        check_rootfs(root, command)
    assert type(caught.value) is kind
    return str(caught.value)


# -- the root filesystem -----------------------------------------------------------------------------------------------


def test_what_is_no_root_filesystem_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()

    assert "there is no root filesystem at" in refusal(tmp_path / "missing", "sh")
    assert "is not a directory" in refusal(tmp_path / "file", "sh")
    assert "is empty" in refusal(tmp_path / "empty", "sh")


def test_the_root_of_the_machine_is_refused_by_any_path(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")

    for path in ("/", "/usr/..", str(tmp_path / "link")):
        assert "this machine's own root" in refusal(path, "sh")


@needs_root
def test_a_bind_mount_of_the_root_is_the_root(tmp_path: Path) -> None:
    def bind_and_check() -> str:
        private_mounts()
        linux.mount("/", str(tmp_path), None, Mount.BIND)
        return refusal(tmp_path, "sh")

    assert "this machine's own root" in in_child(bind_and_check)


def test_without_a_command_only_the_directory_is_looked_at(root: Path) -> None:
    assert check_rootfs(root) == ""


# -- finding the command -----------------------------------------------------------------------------------------------


def test_a_command_is_found_by_name_by_path_and_from_the_working_directory(root: Path) -> None:
    assert check_rootfs(root, "sh") == "/bin/sh"
    assert check_rootfs(root, "/bin/sh") == "/bin/sh"
    assert check_rootfs(root, "./sh", workdir="/bin") == "/bin/./sh"
    assert check_rootfs(root, "sh", search="/nowhere:/bin") == "/bin/sh"


def test_a_link_is_followed_inside_and_never_on_the_host(root: Path) -> None:
    (root / "usr/bin/inside").symlink_to("/bin/sh")  # here and there; must be the one in the root filesystem
    (root / "usr/bin/outside").symlink_to(BASH)  # only on the host
    (root / "usr/bin/above").symlink_to("../../../../../../../../../.." + BASH)

    assert check_rootfs(root, "inside") == "/usr/bin/inside"
    assert "leads nowhere in the root filesystem" in refusal(root, "outside", CommandNotFoundError)
    assert "leads nowhere in the root filesystem" in refusal(root, "above", CommandNotFoundError)


@pytest.mark.parametrize("command", ["bash", "/bin/bash", "", "no/such", "/bin/sh/below"])
def test_a_command_that_is_not_there_is_127_and_says_what_is(root: Path, command: str) -> None:
    message = refusal(root, command, CommandNotFoundError)

    assert repr(command) in message and "found these instead: sh" in message
    assert CommandNotFoundError.status == 127


def test_of_many_programs_those_with_a_similar_name_are_told(root: Path) -> None:
    for number in range(30):
        put(root / f"usr/bin/other{number}", "#!/bin/sh\n")
    put(root / "usr/bin/python3", "#!/bin/sh\n")

    assert "found these instead: python3" in refusal(root, "python", CommandNotFoundError)


# -- running it --------------------------------------------------------------------------------------------------------


def test_what_the_kernel_would_not_run_is_126_and_says_why(root: Path) -> None:
    put(root / "usr/bin/plain", "#!/bin/sh\n", mode=0o644)
    put(root / "usr/bin/text", "hello\n")
    put(root / "usr/bin/nothing", "")
    put(root / "usr/bin/cut", "\x7fELF\x02\x01\x01")
    os.mkfifo(root / "usr/bin/pipe", 0o755)

    assert "may not be executed by anybody: its mode is -rw-r--r--" in refusal(root, "plain", CommandNotExecutableError)
    for name in ("text", "nothing", "cut"):
        assert "is not a program" in refusal(root, name, CommandNotExecutableError)
    assert "is not a file" in refusal(root, "pipe", CommandNotExecutableError)
    assert "is a directory" in refusal(root, "/usr/bin", CommandNotExecutableError)
    assert CommandNotExecutableError.status == 126


def test_a_dynamic_program_without_its_loader_says_so(root: Path) -> None:
    shutil.copy(BASH, root / "bin/bash")
    message = refusal(root, "bash", CommandNotExecutableError)

    assert "/ld-" in message and "which /bin/bash needs, is not in the root filesystem" in message


def test_a_script_needs_its_interpreter_inside(root: Path) -> None:
    put(root / "usr/bin/good", "#! /bin/sh -e\n")
    put(root / "usr/bin/bad", f"#!{BASH}\n")
    put(root / "usr/bin/nested", "#!/usr/bin/bad\n")

    assert check_rootfs(root, "good") == "/usr/bin/good"
    assert f"{BASH}, which /usr/bin/bad needs, is not" in refusal(root, "bad", CommandNotExecutableError)
    assert f"{BASH}, which /usr/bin/nested needs, is not" in refusal(root, "nested", CommandNotExecutableError)


def test_scripts_that_run_each_other_do_not_hang_the_check(root: Path) -> None:
    put(root / "usr/bin/a", "#!/usr/bin/b\n")
    put(root / "usr/bin/b", "#!/usr/bin/a\n")

    assert "more than 5 scripts" in refusal(root, "a", CommandNotExecutableError)


def test_a_program_for_another_cpu_says_so(root: Path) -> None:
    image = bytearray(Path("/bin/busybox").read_bytes())
    image[18:20] = b"\x08\x00"  # e_machine: mips
    (root / "bin/sh").write_bytes(image)

    assert f"is for mips; this machine is {os.uname().machine}" in refusal(root, "sh", CommandNotExecutableError)


def test_a_later_directory_may_have_the_one_that_works(root: Path) -> None:
    put(root / "usr/bin/sh", "", mode=0o644)  # /usr/bin comes before /bin

    assert check_rootfs(root, "sh") == "/bin/sh"


@needs_root
def test_a_filesystem_without_programs_says_so(root: Path) -> None:
    def remount_and_check() -> tuple[str, int]:
        private_mounts()
        linux.mount(str(root), str(root), None, Mount.BIND)
        linux.mount(None, str(root), None, Mount.BIND | Mount.REMOUNT | Mount.NOEXEC)
        with pytest.raises(CommandError) as caught:
            check_rootfs(root, "sh")
        return str(caught.value), caught.value.status

    message, status = in_child(remount_and_check)
    assert "mounted noexec" in message
    assert status == 126
