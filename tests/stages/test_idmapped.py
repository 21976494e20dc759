"""User namespaces of root's containers: ids that nobody else has, and files that belong to the right ones on both sides."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scratchlab import linux, shared, stages
from scratchlab.container import Container
from scratchlab.errors import HostError, StageError
from scratchlab.journal import Journal
from scratchlab.linux import Clone, Mount
from scratchlab.stages import subids
from scratchlab.stages.stage import namespaces_of
from scratchlab.stages.subids import FULL, IdRange, parse_subids
from tests.command_line import init_of, running, said, scratchlab
from tests.conftest import eventually, in_child, needs_root
from tests.ordinary import Ordinary

pytestmark = needs_root

AUTO = ("run", "--userns", "auto", "--network", "none")
GIVING = (*AUTO, "--cap-add", "CHOWN")
FOREVER = ("bash", "-c", "echo ready; sleep 1000")

OWNERS = """
import os, sys
for uid, gid in ((0, 0), (7, 8), (65534, 65534)):
    path = f"{sys.argv[1]}/made-by-{uid}"
    open(path, "w").close()
    os.chown(path, uid, gid)
    print(os.stat(path).st_uid, os.stat(path).st_gid)
"""
OWNED = [(0, 0), (7, 8), (65534, 65534)]


def map_of(pid: int, kind: str = "uid") -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/{kind}_map").read_text().split()]


def owners(folder: Path) -> list[tuple[int, int]]:
    """Whose the files are that OWNERS made, as the host sees them; removed now."""
    paths = [folder / f"made-by-{uid}" for uid, _ in OWNED]
    found = [(path.stat().st_uid, path.stat().st_gid) for path in paths]
    for path in paths:
        path.unlink()
    return found


def numbers(text: str) -> list[tuple[int, int]]:
    return [(int(line.split()[0]), int(line.split()[1])) for line in text.splitlines()]


# -- from both sides --------------------------------------------------------------------------------------------------


def test_root_inside_is_nobody_of_the_host(rootfs: Path) -> None:
    with running(*AUTO, "--name", "mapped", rootfs, *FOREVER, says="ready"):
        pid = init_of("mapped")
        ours, uids, gids = namespaces_of("self"), map_of(pid), map_of(pid, "gid")
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        inside = said("exec", "mapped", "bash", "-c", "id -u; id -g; id -G; grep -e CapEff -e NoNew /proc/self/status")
        assert namespaces_of(pid)["user"] != ours["user"]

    assert uids == gids and (uids[0], uids[2]) == (0, FULL) and uids[1] >= FULL
    assert {tuple(line.split()[1:]) for line in status if line.startswith(("Uid", "Gid"))} == {(str(uids[1]),) * 4}
    assert inside.split() == ["0", "0", "0", "CapEff:", "0000000020000420", "NoNewPrivs:", "1"]


def test_files_of_the_root_filesystem_belong_to_the_same_ids_on_both_sides(rootfs: Path) -> None:
    listed = said(*AUTO, rootfs, "python3", "-c", "import os; print(os.stat('/').st_uid, os.stat('/etc/passwd').st_gid)")
    made = said(*GIVING, rootfs, "python3", "-c", OWNERS, "/tmp")

    assert listed == "0 0\n"
    assert numbers(made) == owners(rootfs / "tmp") == OWNED


def test_files_of_a_volume_do_too_and_a_read_only_one_stays_so(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "host").write_text("")
    os.chown(tmp_path / "host", 5, 6)
    words = (*GIVING, "-v", f"{tmp_path}:/data", "-v", f"{tmp_path}/host:/fixed:ro", rootfs)

    assert said(*words, "python3", "-c", "import os; print(os.stat('/data/host').st_uid, os.stat('/fixed').st_gid)") == "5 6\n"
    assert numbers(said(*words, "python3", "-c", OWNERS, "/data")) == owners(tmp_path) == OWNED
    assert "Read-only file system" in scratchlab(*words, "bash", "-c", "echo >/fixed").stderr


def test_what_root_alone_may_read_on_the_host_is_closed_to_root_inside(rootfs: Path, tmp_path: Path) -> None:
    """By an open directory, as a careless set-up would leave one: the ids are what keeps it closed."""
    (tmp_path / "secret").write_text("of the host")
    (tmp_path / "secret").chmod(0o600)
    container = Container(str(rootfs), ("true",), userns="auto", network="none", volumes=(f"{tmp_path}:/data",))

    assert container.without("mask").run().ok
    with container.started() as box:
        assert box.run("cat", "/data/secret").out == "of the host"  # translated: root's is root's
        pid = box.pid
        kernel = in_child(lambda: _as(map_of(pid)[1], lambda: os.access(tmp_path / "secret", os.R_OK)))
    assert not kernel


def _as(uid: int, act: Any) -> Any:
    linux.setgroups([])
    linux.setresgid(uid, uid, uid)
    linux.setresuid(uid, uid, uid)
    return act()


def test_two_containers_share_no_id_and_give_theirs_back(rootfs: Path) -> None:
    one, two = ((*AUTO, "--name", name, rootfs, *FOREVER) for name in ("one", "two"))
    with running(*one, says="ready"), running(*two, says="ready"):
        first, second = (map_of(init_of(name))[1] for name in ("one", "two"))
        assert abs(first - second) >= FULL
        assert shared.claimed(f"ids:{first}") and shared.claimed(f"ids:{second}")
    assert eventually(lambda: shared.claimed(f"ids:{first}") or shared.claimed(f"ids:{second}"), False) is False


def test_it_works_with_a_network_a_user_and_read_only_too(rootfs: Path) -> None:
    words = ("run", "--userns", "auto", "--read-only", "--user", "7:8", rootfs)

    assert said(*words, "bash", "-c", "id -u; id -g; ip -brief link | wc -l 2>/dev/null; : ").split()[:2] == ["7", "8"]
    assert "eth0" in said("run", "--userns", "auto", rootfs, "ip", "-brief", "link")
    assert said("run", "--userns", "auto", "--chroot", rootfs, "id", "-u") == "0\n"


def test_without_the_stage_the_files_belong_to_nobody_or_cannot_even_be_reached(rootfs: Path, ann: Ordinary) -> None:
    bare = (*AUTO, "--without", "idmap")
    done = scratchlab(*bare, rootfs, "true")  # in a folder that is root's alone

    assert said(*bare, ann.rootfs, "python3", "-c", "import os; print(os.stat('/').st_uid)") == "65534\n"
    assert done.returncode == 125 and "Permission denied" in done.stderr and "Traceback" not in done.stderr


# -- where it cannot be -----------------------------------------------------------------------------------------------


@contextmanager
def overlaid(rootfs: Path, folder: Path) -> Iterator[Path]:
    """The root filesystem seen through overlayfs, which translates no ids, as most of what is no disk."""
    for name in ("upper", "work", "merged"):
        (folder / name).mkdir()
    data = f"lowerdir={rootfs},upperdir={folder}/upper,workdir={folder}/work"
    linux.mount("overlay", str(folder / "merged"), "overlay", Mount(0), data)
    yield folder / "merged"


def test_a_filesystem_that_cannot_translate_is_mounted_as_it_is_and_a_note_says_so(rootfs: Path, tmp_path: Path) -> None:
    def act() -> tuple[str, str, str]:
        linux.unshare(Clone.NEWNS)
        linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)
        with overlaid(rootfs, tmp_path) as merged:
            done = scratchlab(*AUTO, merged, "bash", "-c", "cat /etc/passwd >/dev/null && echo read; echo >/new")
            owner = scratchlab(*AUTO, merged, "python3", "-c", "import os; print(os.stat('/').st_uid)")
            return done.stdout, done.stderr, owner.stdout

    out, err, owner = in_child(act)

    assert "is on overlay, whose ids this kernel does not translate (mount_setattr: EINVAL)" in err
    assert (out, owner) == ("read\n", "65534\n")
    assert "/new: Permission denied" in err


# -- ids that nobody has ----------------------------------------------------------------------------------------------

GRANTS = """
# a comment
scratchlab:100000:65536
1000:300000:1000
scratchlab:500000:131072
other:700000:65536
scratchlab:nonsense:65536
scratchlab:4294967295:65536
scratchlab:900000:0
"""


def test_grants_are_found_by_login_and_by_number() -> None:
    assert parse_subids(GRANTS, "scratchlab", 77) == [IdRange(100_000, 65_536), IdRange(500_000, 131_072)]
    assert parse_subids(GRANTS, "nobody", 1000) == [IdRange(300_000, 1000)]
    assert parse_subids(GRANTS, "", 5) == parse_subids("", "scratchlab", 5) == []


@pytest.mark.parametrize(
    ("subuid", "subgid", "first"),
    [
        (GRANTS, GRANTS, 500_000),
        ("containers:200000:65536", "containers:200000:65536", 200_000),
        ("containers:200000:65536", "containers:300000:65536", subids.DEFAULT[0]),
        ("", "", subids.DEFAULT[0]),
    ],
)
def test_a_grant_to_containers_is_preferred_where_users_and_groups_have_the_same(
    tmp_path: Path, subuid: str, subgid: str, first: int
) -> None:
    def act() -> int:
        linux.unshare(Clone.NEWNS)
        linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)
        for path, text in ((subids.SUBUID, subuid), (subids.SUBGID, subgid)):
            (tmp_path / Path(path).name).write_text(text)
            linux.mount(str(tmp_path / Path(path).name), path, None, Mount.BIND)
        return subids._pool(FULL).first

    assert in_child(act) == first


def test_ids_run_out_with_words_and_come_back_with_the_journal() -> None:
    journal = Journal.claim("ids")
    try:
        claimed = subids.claim_ids(journal, FULL)
        assert shared.claimed(f"ids:{claimed.first}")
        with pytest.raises(HostError, match=r"ids of .* are free"):
            subids.claim_ids(journal, 1 << 31)
    finally:
        journal.close()
    assert not shared.claimed(f"ids:{claimed.first}")


def test_a_sandbox_is_given_ids_and_its_files_step_by_step(box: Any, rootfs: Path) -> None:
    box.apply(stages.unshare_user)
    box.apply(stages.map_ids, outside="auto", count=FULL)
    box.apply(stages.user, 0)
    box.apply(stages.unshare_mount)
    box.apply(stages.private_mounts)
    assert "idmap" in repr(box.apply(stages.idmap, str(rootfs), str(rootfs)))
    box.apply(stages.pivot, str(rootfs))

    assert box.run("python3", "-c", "import os; print(os.stat('/').st_uid)", inherit=False).out == "0"


def test_ids_are_asked_for_by_number_or_auto(box: Any) -> None:
    box.apply(stages.unshare_user)
    with pytest.raises(ValueError, match="'some' outside"):
        box.apply(stages.map_ids, outside="some")
    box.undo()
    with pytest.raises(StageError, match="unshare_user and unshare_mount first"):
        box.apply(stages.idmap, "/etc", "/mnt")
