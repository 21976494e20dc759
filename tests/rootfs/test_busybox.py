"""One static program with many names."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from scratchlab.errors import HostError
from scratchlab.rootfs import contents, create, describe
from scratchlab.rootfs.busybox import require_static
from tests.conftest import in_child, needs, needs_root
from tests.rootfs.inside import NOBODY, as_nobody, said_inside, shared_directory

pytestmark = needs(os.path.exists("/bin/busybox"), "needs a static busybox: apt-get install busybox-static")


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with shared_directory() as directory:
        yield create(directory / "root", "busybox")


@needs_root
def test_one_file_answers_to_many_names(root: Path) -> None:
    assert said_inside(root, "sh", "-c", "echo one two | awk '{ print $2 }'") == "two\n"
    assert said_inside(root, "/bin/ls", "-d", "/etc") == "/etc\n"
    assert said_inside(root, "whoami", uid=NOBODY) == "nobody\n"

    counted = contents(root)
    assert (counted.programs, counted.libraries) == (1, 0)
    assert counted.names > 100
    assert "1 program, " in describe(root) and " more names, " in describe(root)


def test_every_name_is_a_link_that_means_the_same_inside(root: Path) -> None:
    links = [path for path in (root / "bin").iterdir() if path.name != "busybox"]

    assert {os.readlink(link) for link in links} == {"/bin/busybox"}
    assert stat.S_ISREG((root / "bin/busybox").lstat().st_mode)


@needs_root
def test_an_ordinary_user_can_make_one() -> None:
    with shared_directory() as directory:

        def make() -> int:
            as_nobody()
            return os.stat(create(directory / "root", "busybox") / "bin/busybox").st_uid

        assert in_child(make) == NOBODY
        assert said_inside(directory / "root", "echo", "hi") == "hi\n"


def test_a_dynamic_busybox_will_not_do() -> None:
    require_static("/bin/busybox")
    with pytest.raises(HostError, match=r"is not static(.|\n)*busybox-static"):
        require_static(os.path.realpath("/bin/ls"))
