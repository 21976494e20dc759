"""Pictures for an ordinary user: what may be seen is drawn, and what may not be done is an error that leaves nothing."""

import shutil

import pytest

from tests.conftest import needs, needs_root
from tests.ordinary import an_ordinary_user

pytestmark = [needs_root, needs(shutil.which("newuidmap"), "needs newuidmap: apt install uidmap")]

PROGRAM = """
from scratchlab import Sandbox, stages, views
from scratchlab.errors import HostError
with Sandbox("mine", born=["user"]) as box:
    for stage in (stages.unshare_uts, stages.unshare_net, stages.unshare_mount):
        box.apply(stage)
    for look in (views.namespaces, views.mounts, views.processes, views.wiring, views.cgroup):
        print(look(box))
    try:
        views.packet(box, "127.0.0.1:8080")
    except HostError as error:
        print(error)
    print(views.live(box, "true", seconds=1).wait())
"""


@pytest.fixture(scope="module")
def user():
    with an_ordinary_user(["sh"]) as made:
        yield made


def test_an_ordinary_user_sees_all_pictures_and_is_told_what_takes_root(user):
    said = user.python(PROGRAM)

    assert "user namespace     host   mine" in said and "mine   lo   down" in said
    assert "└─ scratchlab     the host's" in said and "io          no limit of its own" in said
    assert "this program may make none\n  hint: use sudo" in said
    assert "true, in mine" in said
    assert user.left_behind() == set()
