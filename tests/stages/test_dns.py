"""Name servers: for the process, and not in its root filesystem."""

from pathlib import Path
from typing import Any

import pytest

from scratchlab import linux
from scratchlab.errors import InputError, StageError
from scratchlab.stages import resolv
from scratchlab.stages.dns import reachable
from tests.conftest import in_child, needs_root


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("nameserver 10.0.0.1\nnameserver 127.0.0.53\n", ("10.0.0.1",)),
        ("# nameserver 1.2.3.4\nsearch lan\nnameserver ::1\n", ()),
        ("nameserver fd00::1\nnameserver fe80::1%eth0\nnameserver\n", ("fd00::1",)),
        ("", ()),
    ],
)
def test_only_name_servers_that_are_not_the_hosts_own_are_reachable(text: str, servers: tuple[str, ...]) -> None:
    assert reachable(text) == servers


def apart_from_the_hosts_mounts() -> None:
    linux.unshare(linux.Clone.NEWNS)
    linux.mount(None, "/", None, linux.Mount.REC | linux.Mount.PRIVATE)


@needs_root
def test_name_servers_are_changed_for_the_process_and_not_in_its_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").write_text("the user's own\n")
    (tmp_path / "etc/hosts").write_text("stays visible\n")

    def there() -> tuple[Any, str, str, int]:
        apart_from_the_hosts_mounts()
        mounts = len(Path("/proc/self/mountinfo").read_text().splitlines())
        told = resolv(("10.0.0.1", "10.0.0.2"), root=str(tmp_path))
        seen = [(tmp_path / "etc" / name).read_text() for name in ("resolv.conf", "hosts")]
        return tuple(told), seen[0], seen[1], len(Path("/proc/self/mountinfo").read_text().splitlines()) - mounts

    assert in_child(there) == (
        (("10.0.0.1", "10.0.0.2"), True),
        "nameserver 10.0.0.1\nnameserver 10.0.0.2\n",
        "stays visible\n",
        1,
    )
    assert (tmp_path / "etc/resolv.conf").read_text() == "the user's own\n"


@needs_root
def test_a_link_in_the_root_never_leads_to_a_file_of_the_host(tmp_path: Path) -> None:
    victim, root = tmp_path / "victim", tmp_path / "root"
    victim.write_text("the host's\n")
    (root / "etc").mkdir(parents=True)
    (root / "etc/resolv.conf").symlink_to(victim)

    def there() -> tuple[bool, str]:
        apart_from_the_hosts_mounts()
        told = resolv(("10.0.0.1",), root=str(root))
        return told.mounted, victim.read_text()

    assert in_child(there) == (False, "the host's\n")


@needs_root
def test_without_a_file_to_mount_on_it_says_so(tmp_path: Path) -> None:
    def there() -> bool:
        apart_from_the_hosts_mounts()
        return resolv(("10.0.0.1",), root=str(tmp_path)).mounted

    assert in_child(there) is False


def test_what_is_no_name_server_is_an_input_error() -> None:
    with pytest.raises(InputError):
        in_child(lambda: resolv(("dns.example",)))


@needs_root
def test_shared_mounts_are_refused_because_the_host_would_get_the_name_servers(tmp_path: Path) -> None:
    def there() -> None:
        apart_from_the_hosts_mounts()
        linux.mount("tmpfs", str(tmp_path), "tmpfs")
        linux.mount(None, str(tmp_path), None, linux.Mount.SHARED)
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/resolv.conf").touch()
        resolv(("10.0.0.1",), root=str(tmp_path))

    with pytest.raises(StageError, match="apply private_mounts first"):
        in_child(there)
