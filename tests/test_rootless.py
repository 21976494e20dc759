"""Containers of an ordinary user: what is given without root, seen from inside and from the host."""

import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from scratchlab.stages.stage import namespaces_of
from tests.conftest import eventually, needs, needs_root
from tests.ordinary import RANGE, UID, Ordinary

pytestmark = [needs_root, needs(shutil.which("newuidmap"), "needs newuidmap: ./lab test installs it")]  # root, to become others

NONE = ("--network", "none")
FOREVER = ("bash", "-c", "echo ready; sleep 1000")


@pytest.fixture(params=[True, False], ids=["range", "one id"])
def anybody(request: pytest.FixtureRequest, ann: Ordinary) -> Ordinary:
    """A user with, and one without a range."""
    return ann._replace(ranges=request.param)


def maps(ranges: bool) -> list[list[int]]:
    """What the kernel should say of a container's ids: root is the user, and the others are of the range."""
    return [[0, UID, 1], [1, RANGE[0], 65535]] if ranges else [[0, UID, 1]]


# -- who is who -------------------------------------------------------------------------------------------------------


def test_an_ordinary_user_is_root_inside_and_herself_outside(anybody: Ordinary) -> None:
    with anybody.running("run", *NONE, "--name", "who", anybody.rootfs, *FOREVER, says="ready"):
        pid = anybody.init_of("who")
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        texts = [Path(f"/proc/{pid}/{kind}_map").read_text() for kind in ("uid", "gid")]
        written = [[[int(word) for word in line.split()] for line in text.splitlines()] for text in texts]
        inside = anybody.said("exec", "who", "bash", "-c", "id -u; id -g; id -G; cat /proc/self/uid_map")

    assert written == [maps(anybody.ranges)] * 2
    assert [line.split()[1] for line in status if line.startswith(("Uid", "Gid"))] == [str(UID)] * 2
    assert inside.split() == ["0", "0", "0", *(str(number) for line in maps(anybody.ranges) for number in line)]


def test_every_namespace_is_its_own_but_time(ann: Ordinary) -> None:
    with ann.running("run", *NONE, "--name", "apart", ann.rootfs, *FOREVER, says="ready"):
        theirs, ours = namespaces_of(ann.init_of("apart")), namespaces_of("self")

    assert {kind for kind in ours if theirs[kind] == ours[kind]} == {"time"}


def test_her_containers_have_no_more_capabilities_than_roots(ann: Ordinary) -> None:
    status = ann.said("run", *NONE, ann.rootfs, "grep", "-e", "^Cap", "-e", "NoNew", "/proc/self/status").split()

    assert dict(zip(status[::2], status[1::2], strict=True)) == {
        "CapInh:": "0" * 16, "CapPrm:": "0000000020000420", "CapEff:": "0000000020000420", "CapBnd:": "0000000020000420",
        "CapAmb:": "0" * 16, "NoNewPrivs:": "1",
    }  # fmt: skip


def test_a_file_made_by_root_inside_is_hers_and_another_users_is_of_her_range(ann: Ordinary) -> None:
    shown = ann.said("run", *NONE, "--cap-add", "CHOWN", ann.rootfs, "python3", "-c", OWNERS)
    found = [(ann.rootfs / "tmp" / name).stat() for name in ("root", "daemon")]
    for name in ("root", "daemon"):
        (ann.rootfs / "tmp" / name).unlink()

    assert shown.split() == ["0:0", "7:8"]
    assert [(each.st_uid, each.st_gid) for each in found] == [(UID, UID), (RANGE[0] + 6, RANGE[0] + 7)]


OWNERS = """
import os
for name, uid, gid in (("root", 0, 0), ("daemon", 7, 8)):
    path = f"/tmp/{name}"
    open(path, "w").close()
    os.chown(path, uid, gid)
    print(f"{os.stat(path).st_uid}:{os.stat(path).st_gid}")
"""


def test_a_user_inside_needs_an_id_of_the_range(ann: Ordinary) -> None:
    assert ann.said("run", *NONE, "--user", "1000:1001", ann.rootfs, "id").split()[:2] == ["uid=1000", "gid=1001"]

    done = ann._replace(ranges=False).scratchlab("run", *NONE, "--user", "1000", ann.rootfs, "id")
    assert done.returncode == 125
    assert "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 scratchlab-test" in done.stderr


def test_without_a_range_a_note_says_which_command_gives_one(ann: Ordinary) -> None:
    done = ann._replace(ranges=False).scratchlab("run", *NONE, ann.rootfs, "true")

    assert done.returncode == 0
    assert "note: only root has an id inside" in done.stderr and "usermod --add-subuids 100000-165535" in done.stderr
    assert "only root" not in ann.scratchlab("run", *NONE, ann.rootfs, "true").stderr


# -- what is around it ------------------------------------------------------------------------------------------------


def test_proc_sys_and_dev_are_there_and_the_dangerous_parts_are_not(ann: Ordinary) -> None:
    script = (
        "cat /proc/1/comm; echo x >/dev/null && head -c 3 /dev/zero | cat -v; cat /proc/keys; echo; ls /sys/firmware; : >/sys/x"
    )
    done = ann.scratchlab("run", *NONE, ann.rootfs, "bash", "-c", script + "; echo 1 >/proc/sys/kernel/threads-max")

    assert done.stdout.splitlines() == ["scratchlab", "^@^@^@"]
    assert done.stderr.count("Read-only file system") == 2


def test_mount_points_are_made_and_removed_in_a_root_filesystem_of_hers(ann: Ordinary) -> None:
    points = {"proc", "sys", "dev"}
    for name in points:
        (ann.rootfs / name).rmdir()

    assert points <= set(ann.said("run", *NONE, ann.rootfs, "ls", "/").split())
    assert not points & set(os.listdir(ann.rootfs))
    ann.python("import os, sys; [os.mkdir(path) for path in sys.argv[1:]]", *(ann.rootfs / name for name in points))


@pytest.mark.parametrize("options", [("--read-only",), ("--chroot",), ("--chroot", "--read-only"), ("--hostname", "web")])
def test_other_options_work_without_root(ann: Ordinary, options: tuple[str, ...]) -> None:
    done = ann.scratchlab("run", *NONE, *options, ann.rootfs, "bash", "-c", "hostname; : >/written && rm /written")

    assert done.stdout == ("web\n" if "web" in options else "container\n")
    assert (done.returncode == 1 and "Read-only" in done.stderr) == ("--read-only" in options)


def test_a_volume_of_hers_can_be_written_and_a_read_only_one_not(ann: Ordinary) -> None:
    script = "echo >/data/new; echo >/fixed/new"
    done = ann.scratchlab(
        "run", *NONE, "-v", f"{ann.home}/run:/data", "-v", f"{ann.home}:/fixed:ro", ann.rootfs, "bash", "-c", script
    )

    assert (ann.home / "run/new").stat().st_uid == UID
    assert "/fixed/new: Read-only file system" in done.stderr
    (ann.home / "run/new").unlink()


# -- the other commands -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [(), ("--user", "7")], ids=["root", "a user"])
def test_exec_ps_and_stop_work_without_root(ann: Ordinary, way: tuple[str, ...]) -> None:
    trap = "trap 'echo bye; exit 5' TERM; echo ready; sleep 1000 & wait"
    with ann.running("run", *NONE, *way, "--name", "web", "-e", "A=b", ann.rootfs, "bash", "-c", trap, says="ready") as process:
        init = ann.init_of("web")
        assert any(line.startswith("web ") and line.endswith(trap.split(";")[-1] + "'") for line in ann.said("ps").splitlines())
        entered = ann.said("exec", "web", "bash", "-c", "hostname; echo $A; grep -e NoNew -e CapEff /proc/self/status; id -u")
        assert entered.split() == ["container", "b", "CapEff:", "0000000020000420" if not way else "0" * 16, "NoNewPrivs:", "1",
                                   way[1] if way else "0"]  # fmt: skip
        with ann.running("exec", "web", *FOREVER, says="ready"):
            pids = [int(line.split()[1]) for line in ann.said("ps").splitlines()[1:]]
            assert all(namespaces_of(pid)["user"] == namespaces_of(init)["user"] for pid in pids)

        ann.said("stop", "web")
        assert process.wait(10) == 5
    assert "web" not in ann.said("ps")


def test_ctrl_c_ends_it(ann: Ordinary) -> None:
    with ann.running("run", *NONE, "--name", "loop", ann.rootfs, *FOREVER, says="ready") as process:
        ann.init_of("loop")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 128 + signal.SIGINT


def test_kill_9_leaves_no_process_and_clean_takes_back_the_rest(ann: Ordinary) -> None:
    with ann.running("run", *NONE, "--name", "killed", ann.rootfs, *FOREVER, says="ready") as process:
        init = ann.init_of("killed")
        process.kill()
        process.wait()

    assert eventually(lambda: os.path.exists(f"/proc/{init}"), False) is False
    assert "cleaned killed\n" in ann.said("clean")


# -- in a REPL --------------------------------------------------------------------------------------------------------

STEP_BY_STEP = """
import sys
from scratchlab import Sandbox, stages
root = sys.argv[1]
with Sandbox("web") as box:
    for name, *arguments in (
        ["unshare_user"], ["map_ids"], ["unshare_uts"], ["hostname", "web"], ["unshare_ipc"], ["unshare_pid"], ["unshare_mount"],
        ["private_mounts"], ["unshare_net"], ["loopback"], ["bind", root, root],
    ):
        box.apply(getattr(stages, name), *arguments)
    for name in ("proc", "sysfs", "devices"):
        box.apply(getattr(stages, name), root=root)
    box.apply(stages.pivot, root)
    box.apply(stages.mask)
    box.apply(stages.readonly)
    print(box.run("bash", "-c", "echo $(id -u) $(hostname) $$").out)
    box.undo()
    box.without(stages.hostname)
    print(len(box.steps), box.run("id", "-u").out, )
"""


def test_a_sandbox_is_built_step_by_step_undone_and_ablated_without_root(ann: Ordinary) -> None:
    shown = ann.python(STEP_BY_STEP, ann.rootfs)

    assert shown.splitlines()[0] == "0 web 2"
    assert shown.splitlines()[1].split() == ["15", "0"]


def mapped(ann: Ordinary, arguments: str) -> list[str]:
    """What map_ids(…) gives in a sandbox of this user: both maps, or what it said, in lines."""
    program = f"""
from scratchlab import Sandbox, stages
with Sandbox("ids") as box:
    box.apply(stages.unshare_user)
    try:
        box.apply(stages.map_ids, {arguments})
        print(box.run("cat", "/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups").out)
    except Exception as error:
        print(error)
"""
    return [" ".join(line.split()) for line in ann.python(program).splitlines()]


def test_ids_are_mapped_as_far_as_they_are_granted(ann: Ordinary) -> None:
    assert mapped(ann, "") == [f"0 {UID} 1"] * 2 + ["deny"]
    assert mapped(ann, "count=5") == [f"0 {UID} 1", f"1 {RANGE[0]} 4"] * 2 + ["allow"]
    assert mapped(ann, f"5, {RANGE[0] + 7}, 2") == [f"5 {RANGE[0] + 7} 2"] * 2 + ["allow"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("count=65537 + 1", "/etc/subuid does not grant 65537 ids to scratchlab-test"),
        ("0, 0, 1", "/etc/subuid does not grant the ids 0 to 0 to scratchlab-test"),
        (f"0, {RANGE[0] + 65530}, 10", "/etc/subuid does not grant the ids"),
        ("outside='auto'", 'ids "auto" are for root to give'),
    ],
)
def test_ids_that_are_not_granted_are_refused_with_the_command_that_grants_some(
    ann: Ordinary, arguments: str, message: str
) -> None:
    said = mapped(ann, arguments)

    assert said[0].startswith(message)
    assert "auto" in arguments or "usermod --add-subuids 100000-165535 scratchlab-test" in said[1]


def test_proc_after_pivot_is_refused_with_the_way_that_works(ann: Ordinary) -> None:
    program = """
import sys
from scratchlab import Sandbox, stages
with Sandbox("late") as box:
    try:
        for stage in (stages.unshare_user, stages.map_ids, stages.unshare_pid, stages.unshare_mount):
            box.apply(stage)
        box.apply(stages.pivot, sys.argv[1])
        box.apply(stages.proc, "/tmp")
    except OSError as error:
        print(error)
"""
    assert "apply proc before pivot" in ann.python(program, ann.rootfs)


def test_the_command_gets_a_terminal_of_its_own(ann: Ordinary) -> None:
    command = shlex.join(ann.argv("-m", "scratchlab.cli", "run", *NONE, ann.rootfs, "tty"))
    done = subprocess.run(["script", "-qec", command, "/dev/null"], capture_output=True, text=True, check=False, timeout=60)

    assert "/dev/pts/0" in done.stdout
