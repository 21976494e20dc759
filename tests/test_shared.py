"""Things that several sandboxes need at once: the last one puts them back, whoever was killed in between."""

import json
import os
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scratchlab import linux, shared
from scratchlab.errors import HostError, KernelError
from scratchlab.linux import Clone, Mount, netlink
from scratchlab.shared import hold_mount_point, hold_sysctl, release_mount_point, release_sysctl, run_directory
from tests.conftest import in_child, needs_root

KEY = "net/ipv4/ip_forward"


def on_a_machine_of_its_own(act: Callable[[], object]) -> object:
    """Do `act` where /run is empty and the network's sysctls are nobody else's."""

    def machine() -> object:
        linux.unshare(Clone.NEWNS | Clone.NEWNET)
        linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)
        linux.mount("tmpfs", "/run", "tmpfs", Mount(0), "mode=755")
        Path("/proc/sys", KEY).write_text("0")  # a new network starts with what the host has at the moment
        return act()

    return in_child(machine)


def sysctl() -> str:
    return Path("/proc/sys", KEY).read_text().strip()


def records() -> list[str]:
    return sorted(str(path.relative_to(run_directory())) for path in (run_directory() / "shared").rglob("*"))


@needs_root
def test_a_sysctl_is_put_back_by_the_last_of_two_holders() -> None:
    def act() -> list[str]:
        seen = [sysctl()]
        for change in (hold_sysctl, release_sysctl):
            for holder in ("one", "two"):
                change(KEY, "1", holder)
                seen.append(sysctl())
        return [*seen, *records()]

    assert on_a_machine_of_its_own(act) == ["0", "1", "1", "1", "0"]


@needs_root
def test_a_sysctl_that_was_on_before_stays_on_and_one_that_somebody_changed_is_left_alone() -> None:
    def act() -> list[str]:
        Path("/proc/sys", KEY).write_text("1")
        hold_sysctl(KEY, "1", "one")
        release_sysctl(KEY, "1", "one")
        seen = [sysctl()]
        Path("/proc/sys", KEY).write_text("0")
        hold_sysctl("net/ipv4/ip_default_ttl", "65", "one")
        Path("/proc/sys/net/ipv4/ip_default_ttl").write_text("99")
        release_sysctl("net/ipv4/ip_default_ttl", "65", "one")
        return [*seen, Path("/proc/sys/net/ipv4/ip_default_ttl").read_text().strip()]

    assert on_a_machine_of_its_own(act) == ["1", "99"]


@needs_root
def test_releasing_what_was_never_held_or_twice_changes_nothing() -> None:
    def act() -> list[str]:
        Path("/proc/sys", KEY).write_text("1")
        release_sysctl(KEY, "1", "nobody")
        hold_sysctl(KEY, "1", "one")
        release_sysctl(KEY, "1", "nobody")
        release_sysctl(KEY, "1", "one")
        release_sysctl(KEY, "1", "one")
        return [sysctl(), *records()]

    assert on_a_machine_of_its_own(act) == ["1"]


@needs_root
def test_a_holder_that_was_killed_before_the_change_does_not_keep_the_next_from_making_it() -> None:
    def act() -> list[str]:
        # What a SIGKILL between the record and the change leaves.
        place = run_directory() / "shared" / f"sysctl:{KEY.replace('/', '%2F')}"
        (place / "by").mkdir(parents=True)
        (place / "was").write_text(json.dumps({KEY: "0"}))
        (place / "by/killed").touch()
        hold_sysctl(KEY, "1", "two")
        seen = [sysctl()]
        for holder in ("killed", "two"):
            release_sysctl(KEY, "1", holder)
        return [*seen, sysctl(), *records()]

    assert on_a_machine_of_its_own(act) == ["1", "0"]


def test_links_of_others_that_come_and_go_meanwhile_are_no_trouble() -> None:
    def come_and_go() -> None:
        while True:
            mac = netlink.random_mac()
            netlink.send(netlink.new_bridge("passing", mac))
            netlink.remove_link("passing", mac)

    def act() -> int:
        other = os.fork()
        if other == 0:
            come_and_go()
        try:
            for _ in range(200):
                hold_sysctl(KEY, "1", "web")
                release_sysctl(KEY, "1", "web")
            return int(sysctl())
        finally:
            os.kill(other, signal.SIGKILL)
            os.waitpid(other, 0)

    assert on_a_machine_of_its_own(act) == 0


@pytest.mark.parametrize("left", [[], ["by"], ["by", "new"], ["was"], ["was", "by"]])
@needs_root
def test_a_release_finishes_what_a_killed_one_has_begun(left: list[str]) -> None:
    def act() -> list[str]:
        place = run_directory() / "shared" / f"sysctl:{KEY.replace('/', '%2F')}"
        place.mkdir(parents=True)
        if "by" in left:
            (place / "by").mkdir()
        if "new" in left:
            (place / "new").write_text('"half')
        if "was" in left:
            (place / "was").write_text(json.dumps({KEY: "0"}))
            Path("/proc/sys", KEY).write_text("1")
        release_sysctl(KEY, "1", "one")
        return [sysctl(), *records()]

    assert on_a_machine_of_its_own(act) == ["0"]


@needs_root
@pytest.mark.parametrize("directory", [True, False])
def test_a_mount_point_is_gone_with_the_last_of_two_holders(tmp_path: Path, directory: bool) -> None:
    path = tmp_path / "point"

    def act() -> list[object]:
        seen: list[object] = []
        for change in (hold_mount_point, release_mount_point):
            for holder in ("one", "two"):
                change(str(path), directory, holder)
                seen.append(path.is_dir() if directory else path.is_file())
        return [*seen, *records()]

    assert on_a_machine_of_its_own(act) == [True, True, True, False]
    assert not path.exists()


@needs_root
def test_a_mount_point_that_was_there_is_never_removed_and_leaves_no_record(tmp_path: Path) -> None:
    def act() -> list[str]:
        hold_mount_point(str(tmp_path), True, "one")
        found = records()
        release_mount_point(str(tmp_path), True, "one")
        return found

    assert on_a_machine_of_its_own(act) == []
    assert tmp_path.is_dir()


@needs_root
def test_a_very_long_path_can_be_a_mount_point_too(tmp_path: Path) -> None:
    path = tmp_path.joinpath(*["a/long/way"] * 40)
    path.parent.mkdir(parents=True)

    def act() -> list[str]:
        hold_mount_point(str(path), True, "one")
        assert path.is_dir()
        release_mount_point(str(path), True, "one")
        return records()

    assert on_a_machine_of_its_own(act) == []
    assert not path.exists()


@needs_root
def test_a_mount_point_on_a_read_only_root_filesystem_is_an_error_that_names_the_call(tmp_path: Path) -> None:
    def act() -> None:
        linux.mount("tmpfs", str(tmp_path), "tmpfs", Mount.RDONLY)
        try:
            hold_mount_point(str(tmp_path / "proc"), True, "one")
        finally:
            release_mount_point(str(tmp_path / "proc"), True, "one")
            assert records() == []

    with pytest.raises(KernelError, match=r"mkdir.*EROFS"):
        on_a_machine_of_its_own(act)


@needs_root
def test_many_holders_at_once_agree(tmp_path: Path) -> None:
    path = tmp_path / "point"

    def holder(name: str) -> None:
        for _ in range(20):
            hold_mount_point(str(path), True, name)
            assert path.is_dir()
            release_mount_point(str(path), True, name)

    def act() -> list[object]:
        children = []
        for number in range(8):
            if (pid := os.fork()) == 0:
                holder(f"holder-{number}")
                os._exit(0)
            children.append(pid)
        return [*(os.waitpid(pid, 0)[1] for pid in children), *records()]

    assert on_a_machine_of_its_own(act) == [0] * 8
    assert not path.exists()


# -- where our state is -----------------------------------------------------------------------------------------------


@needs_root
def test_the_state_of_root_is_roots_alone() -> None:
    def act() -> tuple[str, int]:
        path = run_directory()
        return str(path), stat.S_IMODE(path.stat().st_mode)

    assert on_a_machine_of_its_own(act) == ("/run/scratchlab", 0o700)


def as_user(act: Callable[[], object]) -> object:
    def user() -> object:
        linux.mount("tmpfs", "/tmp", "tmpfs", Mount(0), "mode=1777")
        os.environ.pop("XDG_RUNTIME_DIR", None)
        os.setresuid(1000, 1000, 1000)
        return act()

    return on_a_machine_of_its_own(user)


@needs_root
def test_the_state_of_an_ordinary_user_is_in_a_directory_of_its_own() -> None:
    assert as_user(lambda: str(run_directory())) == "/tmp/scratchlab-1000/scratchlab"


@needs_root
@pytest.mark.parametrize("trap", ["somebody else's", "open to all", "a link"])
def test_a_state_directory_that_somebody_else_prepared_is_refused(trap: str) -> None:
    def act() -> object:
        linux.mount("tmpfs", "/tmp", "tmpfs", Mount(0), "mode=1777")
        path = Path("/tmp/scratchlab-1000")
        if trap == "a link":
            Path("/tmp/elsewhere").mkdir(mode=0o777)
            path.symlink_to("/tmp/elsewhere")
        else:
            path.mkdir()
        if trap == "open to all":
            os.chown(path, 1000, 1000)
            path.chmod(0o777)
        os.environ.pop("XDG_RUNTIME_DIR", None)
        os.setresuid(1000, 1000, 1000)
        return run_directory()

    with pytest.raises(HostError, match="somebody else"):
        on_a_machine_of_its_own(act)


def test_a_lock_is_freed_by_the_death_of_its_holder(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        with shared.flocked(tmp_path):
            os.write(writer, b"x")
            os.kill(os.getpid(), 9)
    os.read(reader, 1)
    os.waitpid(pid, 0)

    with shared.flocked(tmp_path):
        busy = subprocess.run(["flock", "--nonblock", str(tmp_path), "true"], check=False).returncode
    assert busy == 1
