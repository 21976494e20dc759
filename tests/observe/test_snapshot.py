import json
import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest

from scratchlab import Sandbox, linux, stages
from scratchlab.errors import SandboxError
from scratchlab.linux import Clone, Mount, Prctl
from scratchlab.observe import Snapshot, from_data, to_data
from tests.conftest import needs_root
from tests.observe.held import held

EVERYTHING = Clone.NEWNS | Clone.NEWUTS | Clone.NEWIPC | Clone.NEWNET | Clone.NEWCGROUP


def private_mounts() -> None:
    linux.unshare(Clone.NEWNS)
    linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)


# -- ourselves --------------------------------------------------------------------------------------------------------


def test_a_look_at_ourselves_agrees_with_what_python_knows():
    seen = Snapshot.of(os.getpid())

    assert (seen.pid, seen.nspid[0]) == (os.getpid(), os.getpid())
    assert (seen.hostname, seen.cwd, seen.root) == (os.uname().nodename, str(Path.cwd()), "/")
    assert seen.uids[:3] == os.getresuid()
    assert seen.gids[:3] == os.getresgid()
    assert sorted(seen.groups) == sorted(os.getgroups())
    assert seen.rlimits["RLIMIT_NOFILE"].soft == str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    assert {mount.target for mount in seen.mounts} >= {"/", "/proc"}
    assert {link.name for link in seen.links} >= {"lo"}


def test_open_files_are_listed_without_those_of_the_look_itself(tmp_path):
    before = Snapshot.of(os.getpid()).files

    with (tmp_path / "notes").open("w") as notes:
        during = Snapshot.of(os.getpid()).files

        assert set(during) - set(before) == {(notes.fileno(), str(tmp_path / "notes"))}
    assert Snapshot.of(os.getpid()).files == before


# -- others -----------------------------------------------------------------------------------------------------------


@needs_root
def test_a_process_elsewhere_is_seen_as_it_sees_itself_and_the_observer_stays():
    here = Snapshot.of(os.getpid())

    with held(lambda: linux.unshare(EVERYTHING), lambda: linux.sethostname("web"), done=2) as child:
        seen = Snapshot.of(child.pid)

    different = {kind for kind, inode in seen.namespaces.items() if inode != here.namespaces[kind]}
    assert different == {"mnt", "uts", "ipc", "net", "cgroup"}
    assert seen.hostname == "web"
    assert [(link.name, link.up) for link in seen.links] == [("lo", False)]
    assert (seen.addresses, seen.routes) == ((), ())
    after = Snapshot.of(os.getpid())
    assert (after.namespaces, after.hostname) == (here.namespaces, here.hostname)


@needs_root
def test_the_mounts_are_those_of_the_process_and_not_of_the_observer(tmp_path):
    # A name with a blank, a newline and a byte that is no UTF-8 comes through whole, and through JSON too.
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/a b\n\\ \xff")
    Path(odd).mkdir()

    def mount_it() -> None:
        private_mounts()
        linux.mount("mine", odd, "tmpfs", Mount.NOSUID | Mount.NODEV)

    with held(mount_it, done=1) as child:
        seen = from_data(json.loads(json.dumps(to_data(Snapshot.of(child.pid)))))

    (mount,) = (mount for mount in seen.mounts if mount.source == "mine")
    assert mount[4:8] == (odd, "rw,nosuid,nodev,relatime", "private", "tmpfs")
    assert odd not in {mount.target for mount in Snapshot.of(os.getpid()).mounts}


@needs_root
def test_privileges_given_up_are_seen():
    def give_up() -> None:
        linux.prctl(Prctl.SET_NO_NEW_PRIVS, 1)
        linux.setgroups([4, 5])
        linux.setresgid(1, 2, 3)
        linux.setresuid(1, 2, 3)

    with held(give_up, done=1) as child:
        seen = Snapshot.of(child.pid)

    assert (seen.uids, seen.gids, seen.groups) == ((1, 2, 3, 2), (1, 2, 3, 2), (4, 5))
    assert seen.no_new_privs
    assert seen.capabilities["effective"] == ()
    assert seen.capabilities["bounding"] != ()


@needs_root
def test_a_pid_namespace_has_no_inode_before_its_first_child_and_calls_that_one_1():
    def first_child() -> int:
        pid = os.fork()
        if pid == 0:
            signal.pause()
        return pid

    with held(lambda: linux.unshare(Clone.NEWPID), first_child) as child:
        child.go()
        empty = Snapshot.of(child.pid)
        grandchild = child.go()
        parent, inside = Snapshot.of(child.pid), Snapshot.of(grandchild)
        os.kill(grandchild, 9)

    assert empty.namespaces["pid_for_children"] == 0
    assert parent.children == (grandchild,)
    assert parent.namespaces["pid_for_children"] == inside.namespaces["pid"] != parent.namespaces["pid"]
    assert inside.nspid == (grandchild, 1)


@needs_root
def test_our_nft_tables_are_listed_and_no_others():
    def make_tables() -> None:
        linux.unshare(Clone.NEWNET)
        for table in ("scratchlab-web", "somebody-elses"):
            subprocess.run(["nft", "create", "table", "ip", table], check=True)
        subprocess.run(["nft", "add", "chain", "ip", "scratchlab-web", "forward"], check=True)

    with held(make_tables, done=1) as child:
        seen = Snapshot.of(child.pid)

    assert list(seen.nft_tables) == ["ip scratchlab-web"]
    assert "chain forward" in seen.nft_tables["ip scratchlab-web"]


@needs_root
def test_limits_and_usage_of_the_control_group_are_seen():
    with Sandbox("seen") as box:
        box.apply(stages.memory, "64M")
        seen = box.snapshot()

    assert {"cpu.max", "memory.current", "pids.max"} <= seen.cgroup_values.keys()
    assert seen.cgroup_values["memory.max"] == str(64 << 20)


# -- what cannot be read ----------------------------------------------------------------------------------------------


def test_a_process_that_does_not_exist_is_our_own_error():
    child = subprocess.Popen(["true"])
    child.wait()

    with pytest.raises(SandboxError, match=f"no process {child.pid}"):
        Snapshot.of(child.pid)


def test_a_process_that_ends_while_it_is_read_is_our_own_error(monkeypatch):
    """The kernel's answers here are real: only the moment of death is chosen."""
    from scratchlab.observe import reader

    child = subprocess.Popen(["sleep", "1000"])

    def die(process: reader.Process) -> str:
        child.kill()
        child.wait()
        return process.link("cwd")

    monkeypatch.setitem(reader.READERS, "cwd", die)
    with pytest.raises(SandboxError, match=f"no process {child.pid}"):
        Snapshot.of(child.pid)


def test_of_a_zombie_what_is_left_is_read_and_the_rest_is_missing_for_that_reason():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    seen = Snapshot.of(pid)
    os.waitpid(pid, 0)

    assert seen.uids[0] == os.getuid()
    assert {"namespaces", "mounts", "hostname", "cwd"} <= seen.missing.keys()
    assert all("zombie" in reason for reason in seen.missing.values())


def test_every_process_of_this_machine_can_be_looked_at_or_is_gone():
    looked = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                assert repr(Snapshot.of(int(name)))
                looked += 1
            except SandboxError as error:
                assert "no process" in str(error)
    assert looked > 0


def become_nobody() -> None:
    linux.setgroups([])
    linux.setresgid(65534, 65534, 65534)
    linux.setresuid(65534, 65534, 65534)
    # A change of user makes a process unreadable for others, and "others" includes its own user.  PR_SET_DUMPABLE(2const)
    linux.prctl(Prctl.SET_DUMPABLE, 1)


def as_nobody_look_at(pid: int) -> dict:
    """Forks: the observer becomes an ordinary user for good."""

    def look() -> dict:
        Snapshot.of(os.getpid())  # imports what an ordinary user may be unable to read
        become_nobody()
        return to_data(Snapshot.of(pid))

    with held(look) as observer:
        return observer.go()


@needs_root
def test_for_an_ordinary_user_another_users_process_is_missing_with_the_reason():
    with held() as child:
        seen = from_data(as_nobody_look_at(child.pid))

    assert seen.command == Snapshot.of(os.getpid()).command
    assert {"namespaces", "root", "cwd", "files", "hostname", "links"} <= seen.missing.keys()
    assert "another user" in seen.missing["namespaces"]
    assert seen.mounts == () or "mounts" not in seen.missing


@needs_root
def test_an_ordinary_user_sees_into_a_sandbox_of_his_own():
    def own_sandbox() -> None:
        become_nobody()
        linux.unshare(Clone.NEWUSER | Clone.NEWUTS | Clone.NEWNET)
        linux.sethostname("rootless")

    with held(own_sandbox, done=1) as child:
        seen = from_data(as_nobody_look_at(child.pid))

    assert seen.hostname == "rootless"
    assert [link.name for link in seen.links] == ["lo"]
    assert {"hostname", "links", "mounts", "namespaces"}.isdisjoint(seen.missing)


# -- as data, as text -------------------------------------------------------------------------------------------------


def test_a_snapshot_survives_json():
    seen = Snapshot.of(os.getpid())

    assert from_data(json.loads(json.dumps(to_data(seen)))) == seen


@needs_root
def test_two_processes_in_the_same_state_read_the_same():
    def text() -> str:
        with held(lambda: linux.unshare(EVERYTHING), done=1) as child:
            return repr(Snapshot.of(child.pid))

    first = text()

    assert first == text()
    assert "its own: cgroup, ipc, mnt, net, uts" in first
    assert "[40265" not in first
    assert len(first.splitlines()) < 80
