"""Root filesystems from the host's own programs: they run, and they hold no more than they should."""

import http.client
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scratchlab import linux
from scratchlab.errors import InputError
from scratchlab.linux import Clone
from scratchlab.rootfs import contents, create, describe
from scratchlab.rootfs.executable import Executable
from scratchlab.rootfs.hostbins import find, script_programs
from scratchlab.rootfs.libraries import libraries_of, parse_list
from tests.conftest import in_child, needs, needs_root
from tests.rootfs.inside import NOBODY, as_nobody, run_inside, said_inside, shared_directory

PROGRAMS = ("bash", "sh", "ls", "id", "awk", "python3")


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with shared_directory() as directory:
        yield create(directory / "root", "host", PROGRAMS)


@pytest.fixture
def place() -> Iterator[Path]:
    with shared_directory() as directory:
        yield directory / "root"


def program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


# -- they run ---------------------------------------------------------------------------------------------------------


@needs_root
def test_each_program_runs_with_nothing_but_what_came_along(root: Path) -> None:
    assert said_inside(root, "bash", "-c", "echo $((6 * 7))") == "42\n"
    assert said_inside(root, "/bin/ls", "-d", "/etc") == "/etc\n"
    assert said_inside(root, "awk", "BEGIN { print 6 * 7 }") == "42\n"  # by way of /etc/alternatives on Debian


@needs_root
def test_an_ordinary_user_can_run_them_too(root: Path) -> None:
    assert said_inside(root, "id", "-un", uid=NOBODY) == "nobody\n"
    assert said_inside(root, "python3", "-B", "-c", "import os; print(os.getuid())", uid=NOBODY) == f"{NOBODY}\n"


@needs_root
def test_ids_have_names_and_localhost_an_address(root: Path) -> None:
    lookup = "import socket, pwd, grp; print(pwd.getpwuid(0).pw_name, grp.getgrgid(5).gr_name, socket.gethostbyname('localhost'))"

    assert said_inside(root, "python3", "-B", "-c", lookup) == "root tty 127.0.0.1\n"


@needs_root
def test_python_imports_modules_that_need_libraries_of_their_own(root: Path) -> None:
    modules = "ssl, ctypes, sqlite3, bz2, lzma, hashlib, uuid, decimal, asyncio, multiprocessing, readline, curses, http.server"
    thread = "import threading; t = threading.Thread(target=print, args=('a thread',)); t.start(); t.join()"

    assert said_inside(root, "python3", "-B", "-c", f"import {modules}; {thread}") == "a thread\n"


@needs_root
def test_python_serves_http_on_port_80(root: Path) -> None:
    def fetch() -> bytes:
        linux.unshare(Clone.NEWNET)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        words = ["chroot", str(root), "python3", "-B", "-u", "-m", "http.server", "80"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
            assert server.stdout and b"Serving HTTP" in server.stdout.readline()
            connection = http.client.HTTPConnection("127.0.0.1")
            connection.request("GET", "/etc/os-release")
            body = connection.getresponse().read()
            server.kill()
        return body

    assert b"ID=scratchlab" in in_child(fetch)


@needs_root
@needs(shutil.which("perl"), "needs perl: apt-get install perl-base")
def test_perl_comes_with_its_modules(place: Path) -> None:
    create(place, "host", ["perl"])

    assert said_inside(place, "perl", "-e", "use strict; use POSIX; use List::Util 'sum'; print sum(40, floor(2.5))") == "42"


# -- how programs are found -------------------------------------------------------------------------------------------


@needs_root
def test_a_script_brings_its_interpreter_and_is_found_by_its_name(place: Path, tmp_path: Path) -> None:
    create(place, "host", [program(tmp_path / "greet", "#!/usr/bin/env bash\necho hello from $BASH\n")])

    assert said_inside(place, "greet") == "hello from /usr/bin/bash\n"


def test_a_script_of_a_version_manager_does_not_hide_the_real_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("shims", "real"):
        (tmp_path / name).mkdir()
    program(tmp_path / "shims/tool", "#!/bin/sh\nexec version-manager tool\n")
    real = shutil.copy(find("ls"), tmp_path / "real/tool")
    only = program(tmp_path / "shims/only-a-script", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/shims:{tmp_path}/real")

    assert find("tool") == str(real)
    assert find("only-a-script") == only


def test_a_program_of_the_system_comes_before_one_in_a_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = shutil.copy(find("id"), tmp_path / "ls")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert find("ls") in ("/usr/bin/ls", "/bin/ls")
    assert find(str(mine)) == str(mine)


@pytest.mark.parametrize(
    ("interpreter", "argument", "programs"),
    [
        ("/bin/sh", "", ["/bin/sh"]),
        ("/usr/bin/python3", "-u", ["/usr/bin/python3"]),
        ("/usr/bin/env", "python3", ["/usr/bin/env", "python3"]),
        ("/usr/bin/env", "-S LANG=C python3 -u", ["/usr/bin/env", "python3"]),
        ("/usr/bin/env", "", ["/usr/bin/env"]),
    ],
)
def test_the_first_line_of_a_script_names_one_program_or_two(interpreter: str, argument: str, programs: list[str]) -> None:
    assert script_programs(Executable("script", interpreter, argument)) == programs


def test_the_libraries_are_those_that_ldd_lists() -> None:
    bash = os.path.realpath(find("bash"))
    listed, _ = parse_list(subprocess.run(["ldd", bash], capture_output=True, text=True, check=True).stdout)
    loader = next(path for path in listed if "/ld-" in path)

    assert set(listed) <= set(libraries_of(bash, loader))


def test_a_missing_library_is_told_from_a_found_one_and_from_the_one_that_is_no_file() -> None:
    text = (
        "\tlinux-vdso.so.1 (0x00007fff)\n"
        "\tlibc.so.6 => /lib/a b/libc.so.6 (0x00007f)\n"
        "\tlibx.so.1 => not found\n"
        "\t/lib/ld.so (0x7f)\n"
    )

    assert parse_list(text) == (["/lib/a b/libc.so.6", "/lib/ld.so"], ["libx.so.1"])


# -- what is inside, and what is not ----------------------------------------------------------------------------------


def test_links_are_as_on_the_host(root: Path) -> None:
    for name in ("bin", "lib64", "usr/bin/awk", "usr/bin/python3"):
        assert os.path.islink(f"/{name}") == (root / name).is_symlink()
        if (root / name).is_symlink():
            assert os.readlink(root / name) == os.readlink(f"/{name}")


def test_files_are_copies_that_belong_to_the_container_alone(root: Path) -> None:
    inside, outside = os.stat(root / "usr/bin/ls"), os.stat("/usr/bin/ls")

    assert (inside.st_dev, inside.st_ino) != (outside.st_dev, outside.st_ino)
    assert inside.st_nlink == 1


def test_no_account_key_or_name_server_of_the_host_is_inside(root: Path) -> None:
    names = {path.name for path in (root / "etc").rglob("*")}

    assert not names & {"shadow", "gshadow", "machine-id", "ssh"}
    assert (root / "etc/passwd").read_text().splitlines()[0] == "root:*:0:0:root:/root:/bin/sh"
    assert (root / "etc/resolv.conf").read_bytes() == b""
    assert os.listdir(root / "root") == os.listdir(root / "proc") == []


def test_pythons_tests_and_installed_packages_stay_behind(root: Path) -> None:
    names = {path.name for path in root.rglob("*") if path.is_dir()}

    assert "lib-dynload" in names
    assert not names & {"test", "tests", "__pycache__", "idlelib", "ensurepip", "site-packages", "dist-packages"}


def test_modes_are_right_under_any_umask_and_setuid_is_dropped(place: Path, tmp_path: Path) -> None:
    setuid = Path(shutil.copy(find("id"), tmp_path / "id"))
    setuid.chmod(0o6755)
    words: list[str] = []
    before = os.umask(0o077)
    try:
        create(place, "host", [str(setuid)], progress=lambda word, _part: words.append(word))
    finally:
        os.umask(before)

    modes = {
        name: stat.S_IMODE((place / name).stat().st_mode) for name in (".", "tmp", "proc", "root", "etc/passwd", str(setuid)[1:])
    }
    assert list(modes.values()) == [0o755, 0o1777, 0o555, 0o700, 0o644, 0o755]
    assert f"{setuid} comes without its setuid bit" in words


def test_progress_goes_from_nothing_to_all(place: Path) -> None:
    parts: list[float] = []
    create(place, "host", ["ls"], progress=lambda _word, part: parts.append(part) if part is not None else None)

    assert parts[0] == 0.0 and parts[-1] == 1.0
    assert parts == sorted(parts)


def test_a_description_counts_programs_libraries_and_bytes(root: Path) -> None:
    counted = contents(root)
    du = subprocess.run(["du", "--apparent-size", "--bytes", "-s", str(root)], capture_output=True, text=True, check=True).stdout

    assert counted.programs == len(PROGRAMS)
    assert describe(root).startswith(f"{len(PROGRAMS)} programs, ")
    assert 0 <= int(du.split()[0]) - counted.bytes < 4096 * counted.files  # du counts directories too


# -- an ordinary user makes one ---------------------------------------------------------------------------------------


@needs_root
def test_an_ordinary_user_can_make_one(place: Path) -> None:
    def make() -> int:
        as_nobody()
        create(place, "host", ["bash", "id"])
        return os.stat(place / "usr/bin/bash").st_uid

    assert in_child(make) == NOBODY
    assert said_inside(place, "bash", "-c", "id -u") == "0\n"


# -- what cannot come -------------------------------------------------------------------------------------------------


def refusal(place: Path, *programs: str) -> str:
    with pytest.raises(InputError) as caught:
        create(place, "host", programs)
    assert os.listdir(place.parent) == []
    return str(caught.value)


def test_a_program_that_is_not_there_is_named_with_where_it_was_looked_for(place: Path) -> None:
    message = refusal(place, "bash", "no-such-program")

    assert "no-such-program" in message and "/usr/bin" in message


def test_without_programs_there_is_nothing_to_make(place: Path) -> None:
    assert "no programs given" in refusal(place)


def test_a_program_for_another_cpu_is_refused_by_both_names(place: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    image = bytearray(Path(sys.executable).resolve().read_bytes())
    image[18:20] = (8).to_bytes(2, sys.byteorder)  # e_machine: mips
    foreign.write_bytes(image)
    foreign.chmod(0o755)

    assert f"is for mips; this machine is {os.uname().machine}" in refusal(place, str(foreign))


def test_a_text_file_is_not_a_program(place: Path, tmp_path: Path) -> None:
    assert "is not a program" in refusal(place, program(tmp_path / "text", "just text\n"))


def test_a_script_without_its_interpreter_is_refused(place: Path, tmp_path: Path) -> None:
    assert "/no/such/interpreter" in refusal(place, program(tmp_path / "script", "#!/no/such/interpreter\n"))


def test_scripts_that_run_each_other_are_refused(place: Path, tmp_path: Path) -> None:
    one = program(tmp_path / "one", f"#!{tmp_path}/two\n")
    program(tmp_path / "two", f"#!{one}\n")

    assert "more than 5 scripts" in refusal(place, one)


@needs_root
def test_what_was_not_asked_for_is_not_there(root: Path) -> None:
    assert run_inside(root, "cat", "/etc/passwd").returncode == 127
