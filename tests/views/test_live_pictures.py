"""Pictures of live sandboxes: what they say is what the kernel says, inside and on the host, and the same in every run."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from scratchlab import Sandbox, stages, views
from scratchlab.errors import SandboxError
from scratchlab.linux.proc import MountPoint
from scratchlab.observe.processes import Listed
from scratchlab.views.mounts import propagation_word, tree
from scratchlab.views.processes import tree as process_tree
from tests.conftest import eventually, needs_root
from tests.views.reading import image

pytestmark = needs_root


def namespace(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


# -- namespaces -------------------------------------------------------------------------------------------------------


def test_a_namespace_is_shared_in_the_picture_if_it_is_shared_in_the_kernel(box):
    box.apply(stages.unshare_uts)
    box.apply(stages.unshare_pid)

    rows = dict(views.namespaces(box).rows)

    shared = {kind: len(set(owners)) == 1 for kind, owners in rows.items()}
    assert shared == {kind: namespace("self", kind) == namespace(box.pid, kind) for kind in rows}
    assert rows["uts"] == rows["pid"] == ("host", box.name) and rows["net"] == ("host", "host")


def test_two_sandboxes_that_share_one_namespace_have_one_box_in_the_drawing(box):
    box.apply(stages.unshare_net)
    with Sandbox("second") as second:
        second.apply(stages.join, box.pid, "net")

        picture = views.namespaces(box, second)

        assert namespace(box.pid, "net") == namespace(second.pid, "net") != namespace("self", "net")
        assert dict(picture.rows)["net"] == ("host", box.name, box.name)
        assert image(picture).words().count(box.name) == 2  # the heading, and one box for both


def test_a_pid_namespace_that_only_children_will_enter_has_its_own_row():
    process = subprocess.Popen(["unshare", "--pid", "sleep", "1000"])  # it stays, and its children would be in the new one
    try:
        assert eventually(lambda: Path(f"/proc/{process.pid}/comm").read_text(), "sleep\n") == "sleep\n"

        rows = dict(views.namespaces(process.pid).rows)

        assert rows["pid"] == ("host", "host")
        assert rows["pid_for_children"] == ("host", "sleep")
    finally:
        process.kill()
        process.wait()


def test_looking_at_what_is_gone_says_so(box):
    box.close()

    for look in (views.namespaces, views.mounts, views.processes, views.wiring, views.cgroup):
        with pytest.raises(SandboxError):
            look(box)


# -- mounts -----------------------------------------------------------------------------------------------------------


def mount(number, parent, target, propagation="private", device="8:1"):
    return MountPoint(number, parent, device, "/", target, "rw", propagation, "ext4", "x", "rw")


def test_propagation_is_told_by_whether_the_host_is_in_the_peer_group():
    hosts = {"shared:1"}

    assert propagation_word("shared:1", hosts) == "shared with the host"
    assert propagation_word("shared:7", hosts) == "shared"
    assert propagation_word("master:1", hosts) == "receives from the host"
    assert propagation_word("shared:7 master:1", hosts) == "shared, receives from the host"
    assert propagation_word("master:9 propagate_from:1", hosts) == "receives"
    assert propagation_word("private", hosts) == "private"
    assert propagation_word("unbindable", hosts) == "unbindable"


def test_what_is_as_on_the_host_is_one_line_and_what_is_new_is_another():
    host = [mount(1, 0, "/"), mount(2, 1, "/proc"), mount(3, 1, "/sys"), mount(4, 3, "/sys/fs")]
    inside = [mount(11, 0, "/"), mount(12, 11, "/proc"), mount(13, 11, "/sys"), mount(14, 13, "/sys/fs")]
    new = mount(15, 12, "/proc", device="0:99")

    rows = tree([*inside, new], host)

    assert [row.branch + row.target for row in rows] == ["/", "├─ /proc", "│  └─ /proc", "└─ … the others, as on the host"]
    assert [row.as_on_host for row in rows] == [True, True, False, True]
    assert len(tree([*inside, new], host, every=True)) == 5


def test_a_mount_table_that_makes_no_tree_is_shown_as_far_as_it_goes():
    assert tree([], []) == ()
    assert [row.target for row in tree([mount(1, 1, "/"), mount(5, 77, "/lost")], [])] == ["/", "/lost"]


def test_mounts_that_travel_to_the_host_are_told_from_those_that_do_not(box):
    box.apply(stages.unshare_mount)
    box.apply(stages.private_mounts)
    box.apply(stages.proc)

    picture = views.mounts(box)

    (own,) = [row for row in picture.rows if not row.as_on_host]
    assert (own.target, own.propagation) == ("/proc", "private")
    inside = Path(f"/proc/{box.pid}/mountinfo").read_text().count(" /proc ")
    assert inside == Path("/proc/self/mountinfo").read_text().count(" /proc ") + 1
    assert not picture.is_hosts and views.mounts(os.getpid()).is_hosts


def test_after_pivot_the_tree_is_that_of_the_container(box, busybox_rootfs):
    for stage, *args in [(stages.unshare_mount,), (stages.private_mounts,), (stages.pivot, str(busybox_rootfs)), (stages.proc,)]:
        box.apply(stage, *args)

    picture = views.mounts(box)

    assert [row.target for row in picture.rows] == ["/", "/proc"]
    assert [line.split()[2] for line in box.run("cat", "/proc/mounts").lines] == ["ext4", "proc"] or len(picture.rows) == 2


# -- processes --------------------------------------------------------------------------------------------------------


def test_processes_have_two_numbers_and_the_picture_has_both(box):
    box.apply(stages.unshare_pid)
    running = box.start("sleep", "1000")

    # The kernel lets the parent go on a moment before the new program has its name.  execve(2)
    assert eventually(lambda: views.processes(box).rows[-1].command, "sleep") == "sleep"
    rows = views.processes(box, exact=True).rows
    sleep = next(row for row in rows if row.command == "sleep")
    running.stop()

    assert [row.command for row in rows] == ["this program", "its keeper", "scratchlab", "scratchlab", "sleep"]
    assert sleep.inside == str(running.pid)
    assert int(sleep.on_host) != running.pid
    assert [row.inside for row in rows] == ["", "", "", "1", str(running.pid)]


def test_without_a_namespace_of_its_own_nothing_is_hidden(box):
    picture = views.processes(box)

    assert not picture.has_namespace
    assert {row.inside for row in picture.rows} == {"the host's"}
    assert "in the host's own pid namespace" in picture.title


def test_a_zombie_is_called_one(box):
    box.apply(stages.unshare_pid)
    running = box.start("sh", "-c", "sleep 0 & exec sleep 1000")  # a sleep that does not wait for its child

    zombie = eventually(lambda: any("zombie" in row.command for row in views.processes(box).rows))
    running.stop()

    assert zombie


def test_a_process_table_that_was_read_while_it_changed_still_makes_a_tree():
    turned = [Listed(10, 11, "one", "S", (10,), 1), Listed(11, 10, "other", "S", (11,), 1)]

    assert [row.command for row in process_tree(turned, first=10, top=1, host=1)] == ["one", "other"]


# -- control groups ---------------------------------------------------------------------------------------------------


def test_limits_uses_and_events_are_the_kernels(box):
    box.apply(stages.pids, 8)
    before = views.cgroup(box)
    box.run("sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1 & done 2>/dev/null; wait")

    pids = {usage.controller: usage for usage in views.cgroup(box).usages}["pids"]

    assert pids.group[-2:] == ("scratchlab", box.name) and pids.limit == "8" and pids.events["refused"] > 0
    assert "no fork refused" in repr(before) and "forks refused" in repr(views.cgroup(box))
    assert eventually(lambda: "uses 1 " in repr(views.cgroup(box, exact=True)))


def test_a_group_without_a_limit_is_shown_the_same_whichever_version_it_is_of(box):
    assert views.cgroup(box).lines() and {line.split(maxsplit=1)[1] for line in views.cgroup(box).lines()} == {
        "no limit of its own"
    }


# -- all of them ------------------------------------------------------------------------------------------------------


def everything(name):
    """The text and the bytes of every picture of a sandbox that was built anew."""
    built = [(stages.cpu, 0.2), (stages.memory, "64M"), (stages.unshare_uts,), (stages.unshare_pid,), (stages.unshare_mount,)]
    with Sandbox(name) as box:
        applied = [box.apply(stage, *args) for stage, *args in [*built, (stages.private_mounts,), (stages.proc,)]]
        running = box.start("sleep", "1000")
        assert eventually(lambda: views.processes(box).rows[-1].command, "sleep") == "sleep"
        found = [look(box) for look in (views.namespaces, views.mounts, views.processes, views.wiring, views.cgroup)]
        found += [views.ledger(each) for each in applied[2:]]  # who else has a limit decides who makes the node above
        running.stop()
        return [(repr(picture), picture.svg()) for picture in found]


def test_two_runs_give_the_same_texts_and_the_same_bytes():
    assert everything("twice") == everything("twice")


def test_a_picture_of_a_sandbox_is_well_formed(box):
    for look in (views.namespaces, views.mounts, views.processes, views.wiring, views.cgroup):
        assert image(look(box)).alternative == repr(look(box))


def test_a_sandbox_that_was_looked_at_ends_like_any_other(box):
    pid = box.pid
    views.processes(box)
    views.namespaces(box)

    box.close()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
