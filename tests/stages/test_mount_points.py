"""Mount points that the host makes in a root filesystem, and where links in it lead."""

import os
from pathlib import Path

import pytest

from scratchlab import linux
from scratchlab.errors import InputError
from scratchlab.journal import Journal
from scratchlab.linux import Mount, paths
from scratchlab.stages.filesystem import (
    mount_points,
)
from scratchlab.stages.namespaces import unshare_net
from scratchlab.stages.stage import Target
from tests.conftest import in_child, needs_root
from tests.stages.filesystem_lab import own_mounts

pytestmark = needs_root


# -- mount points -----------------------------------------------------------------------------------------------------


def machine() -> None:
    """A machine of the test's own, with an empty /run: what our journals say there concerns nobody else."""
    own_mounts()
    unshare_net()
    linux.mount("tmpfs", "/run", "tmpfs", Mount(0), "mode=755")


def test_missing_mount_points_are_made_and_gone_with_the_last_container_that_needs_them(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()

    def act() -> list[list[str]]:
        machine()
        seen = []
        one, two = (Target(os.getpid(), Journal.claim(name)) for name in ("one", "two"))
        for target in (one, two):
            mount_points(target, str(tmp_path), "/proc", "/etc/resolv.conf:file", "/a/b/c")
        for target in (one, two):
            seen.append(tree(tmp_path))
            target.journal.close()
        return [*seen, tree(tmp_path)]

    made = ["a", "a/b", "a/b/c", "etc", "etc/resolv.conf", "proc"]
    assert in_child(act) == [made, made, ["etc"]]


def test_a_mount_point_that_was_there_or_is_used_meanwhile_stays(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()

    def act() -> None:
        machine()
        target = Target(os.getpid(), Journal.claim("one"))
        mount_points(target, str(tmp_path), "/proc", "/data", "/file:file")
        (tmp_path / "data/kept").touch()
        (tmp_path / "file").write_text("kept")
        target.journal.close()

    in_child(act)
    assert tree(tmp_path) == ["data", "data/kept", "file", "proc"]


def test_mount_points_are_made_where_links_lead_inside_the_root_filesystem(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "usr").mkdir(parents=True)
    outside.mkdir()
    (root / "lib").symlink_to("/usr/lib")
    (root / "escape").symlink_to("../../outside")
    (root / "absolute").symlink_to(str(outside))

    def act() -> list[str]:
        machine()
        target = Target(os.getpid(), Journal.claim("one"))
        mount_points(target, str(root), "/lib/data", "/escape/x", "/absolute/y", "../../z")
        made = tree(root)
        target.journal.close()
        return made

    made = in_child(act)
    assert {"usr/lib/data", "outside/x", f"{str(outside)[1:]}/y", "z"} <= set(made)
    assert tree(outside) == []
    assert tree(root) == ["absolute", "escape", "lib", "usr"]


def test_a_ring_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InputError, match="40 links"):
        paths.resolve(str(tmp_path), "/a/x")


@pytest.mark.parametrize(
    "path", ["/lib", "lib/../lib", "/escape/x", "/absolute", "/../../etc", "/a/./b//c", "/lib/..", "/a/b/deep/x"]
)
def test_resolve_agrees_with_the_kernel(tmp_path: Path, path: str) -> None:
    for directory in ("usr/lib", "outside/x", "etc", "a/b/c"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "lib").symlink_to("/usr/lib")
    (tmp_path / "escape").symlink_to("../../outside")
    (tmp_path / "absolute").symlink_to("/usr/../usr/lib")
    (tmp_path / "a/b/deep").symlink_to("/outside")

    with paths.pinned(path, str(tmp_path)) as place:
        assert os.readlink(place) == paths.resolve(str(tmp_path), path)


def tree(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))
