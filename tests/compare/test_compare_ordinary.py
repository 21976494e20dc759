"""compare(pid) of an ordinary user: own processes beside an own container, and nobody else's."""

import json
from collections.abc import Iterator

import pytest

from tests.conftest import PROGRAMS, needs_root
from tests.ordinary import UID, Ordinary, an_ordinary_user

pytestmark = needs_root  # to become somebody else


@pytest.fixture(scope="module")
def ann() -> Iterator[Ordinary]:
    """A user with a range of ids to give."""
    with an_ordinary_user(PROGRAMS) as user:
        yield user


def test_an_ordinary_user_compares_her_own_container_with_a_default_one_of_hers(ann: Ordinary) -> None:
    with ann.running(
        "run", "--network", "none", "--name", "peer", ann.rootfs, "bash", "-c", "echo ready; sleep 1000", says="ready"
    ):
        pid = ann.init_of("peer")
        found = json.loads(ann.said("compare", "--json", "--rootfs", ann.rootfs, pid))

    rows = {(row["topic"], row["what"]): row for row in found["rows"]}
    assert (rows["namespaces", "user"]["theirs"], rows["namespaces", "user"]["ours"]) == ("own", "own")
    assert (rows["ids", "uid inside"]["ours"], rows["ids", "uid outside"]["ours"]) == ("0", str(UID))
    assert {rows["capabilities", name]["verdict"] for name in ("effective", "bounding")} == {"same"}
    assert rows["files", "masked paths"]["verdict"] == "same"


def test_a_process_of_root_is_not_hers_to_read(ann: Ordinary) -> None:
    done = ann.scratchlab("compare", 1)

    assert done.returncode == 125
    assert "cannot be read: not permitted" in done.stderr and "use sudo" in done.stderr
