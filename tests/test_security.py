"""What a container may do, in the words of the engines: from the plan, and from inside a real one."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scratchlab import security
from scratchlab.errors import InputError
from scratchlab.linux import Cap
from scratchlab.stages.privileges import DEFAULT, FEW, Identity
from tests.command_line import complains, running, said, scratchlab
from tests.conftest import needs, needs_root

WEB = Identity(33, 33, (4,))


def named(*capabilities: Cap) -> list[str]:
    return [cap.name for cap in sorted(capabilities)]


def plan(*options: str, identity: Identity | None = None, cap_add: tuple[str, ...] = ()) -> list[str]:
    return [str(step) for step in security.steps(identity, cap_add, (), options)]


# -- the plan ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("add", "drop", "kept"),
    [
        ([], [], named(*FEW)),
        (["CAP_NET_RAW", "chown"], ["kill"], named(Cap.AUDIT_WRITE, Cap.NET_BIND_SERVICE, Cap.NET_RAW, Cap.CHOWN)),
        (["DEFAULT"], [], named(*DEFAULT)),
        (["default"], ["MKNOD"], named(*(set(DEFAULT) - {Cap.MKNOD}))),
        (["ALL"], ["SYS_ADMIN"], named(*(set(Cap) - {Cap.SYS_ADMIN}))),
        ([], ["ALL"], []),
        (["NET_RAW"], ["all"], ["NET_RAW"]),
        (["NET_RAW"], ["NET_RAW"], named(*FEW)),
    ],
)
def test_capabilities_are_counted_as_the_engines_do(add: list[str], drop: list[str], kept: list[str]) -> None:
    assert security.kept_capabilities(add, drop) == kept


def test_the_filter_comes_last_and_a_user_before_the_capabilities_that_it_takes() -> None:
    assert plan(identity=WEB) == [
        "close_fds()",
        "user(33, 33, (4,), keep_capabilities=True)",
        f"capabilities({named(*FEW)})",
        "no_new_privs()",
        "seccomp()",
    ]


def test_without_the_promise_the_filter_comes_before_power_goes_and_knows_what_stays() -> None:
    kept = named(*FEW)

    assert plan("no-new-privileges=false") == ["close_fds()", f"seccomp(capabilities={kept})", f"capabilities({kept})"]


def test_what_was_added_by_name_is_handed_on_to_a_user_and_root_needs_no_such_thing() -> None:
    steps = plan(identity=WEB, cap_add=("NET_RAW", "DEFAULT"))

    assert [step for step in steps if step.startswith("ambient")] == ["ambient(['NET_RAW'])"]
    assert not [step for step in plan(cap_add=("NET_RAW",)) if step.startswith("ambient")]


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (("seccomp=unconfined",), []),
        (("seccomp:unconfined", "seccomp=builtin"), ["seccomp()"]),
        (("seccomp=builtin",), ["seccomp()"]),
        (("seccomp=log",), ["seccomp(mode='log')"]),
        (("apparmor=docker-default",), ["apparmor_profile('docker-default')", "seccomp()"]),
        (("apparmor=unconfined",), ["seccomp()"]),
        (("label=disable",), ["seccomp()"]),
        (("label=type:web_t", "label:level:s0:c1,c2"), ["selinux_label('system_u:system_r:web_t:s0:c1,c2')", "seccomp()"]),
    ],
)
def test_options_as_the_engines_spell_them(options: tuple[str, ...], steps: list[str]) -> None:
    found = [step for step in plan(*options) if step.split("(")[0] in ("seccomp", "apparmor_profile", "selinux_label")]

    assert found == steps


def test_a_profile_is_read_before_the_container_and_shown_as_its_path(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW"}))

    assert plan(f"seccomp={path}")[-1] == f"seccomp('{path}')"
    assert security.steps(None, (), (), [f"seccomp={path}"])[-1].args == ({"defaultAction": "SCMP_ACT_ALLOW"},)


@pytest.mark.parametrize(
    "option", ["", "seccomp", "seccomp=", "seccomp=/no/such", "no-new-privileges=maybe", "label=colour:red", "label=type:", "x=y"]
)
def test_an_option_that_cannot_be_is_refused(option: str) -> None:
    with pytest.raises(InputError):
        plan(option)


# -- from inside ------------------------------------------------------------------------------------------------------

FACTS = ("python3", "-c", "print(open('/proc/self/status').read())")


def fact(name: str, text: str) -> str:
    return re.findall(rf"^{name}:\t(\S+)", text, re.M)[0]  # type: ignore[no-any-return]


@needs_root
@needs(shutil.which("runc"), "needs runc: apt-get install runc")
def test_a_container_has_no_capability_more_than_runc_gives(rootfs: Path, tmp_path: Path) -> None:
    subprocess.run(["runc", "spec"], cwd=tmp_path, check=True)
    spec = json.loads((tmp_path / "config.json").read_text())["process"]["capabilities"]
    theirs = {Cap[name.removeprefix("CAP_")] for name in spec["bounding"]}

    status = said("run", "--network", "none", rootfs, *FACTS)
    for field in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"):
        assert {cap for cap in Cap if int(fact(field, status), 16) & 1 << cap} <= theirs


@needs_root
@pytest.mark.parametrize(
    ("options", "effective", "bounding", "promise", "filtered"),
    [
        (("--user", "33"), 0, FEW, "1", "2"),
        (("--user", "33", "--cap-add", "NET_RAW"), 1 << Cap.NET_RAW, (*FEW, Cap.NET_RAW), "1", "2"),
        (("--user", "33", "--security-opt", "no-new-privileges=false"), 0, FEW, "0", "2"),
        (("--without", "no_new_privs"), sum(1 << cap for cap in FEW), FEW, "0", "2"),
        (("--cap-add", "DEFAULT"), sum(1 << cap for cap in DEFAULT), DEFAULT, "1", "2"),
        (("--cap-drop", "ALL", "--security-opt", "seccomp=unconfined"), 0, (), "1", "0"),
        (("--without", "seccomp", "--without", "no_new_privs"), sum(1 << cap for cap in FEW), FEW, "0", "0"),
    ],
)
def test_options_hold_inside(
    rootfs: Path, options: tuple[str, ...], effective: int, bounding: tuple[Cap, ...], promise: str, filtered: str
) -> None:
    status = said("run", "--network", "none", *options, rootfs, *FACTS)

    assert int(fact("CapEff", status), 16) == effective
    assert int(fact("CapBnd", status), 16) == sum(1 << cap for cap in bounding)
    assert (fact("NoNewPrivs", status), fact("Seccomp", status)) == (promise, filtered)


MAKE_SETUID = ("python3", "-c", "import os; os.close(os.open('/data/tool', os.O_CREAT)); os.chmod('/data/tool', 0o4755)")


@needs_root
def test_no_setuid_file_is_left_for_the_host_in_a_volume_unless_the_capability_is_added(rootfs: Path, tmp_path: Path) -> None:
    run = ("run", "--network", "none", "--volume", f"{tmp_path}:/data")

    done = scratchlab(*run, rootfs, *MAKE_SETUID)
    assert "PermissionError" in done.stderr and (tmp_path / "tool").stat().st_mode & 0o6000 == 0
    said(*run, "--cap-add", "FSETID", rootfs, *MAKE_SETUID)
    assert (tmp_path / "tool").stat().st_mode & 0o6000 == 0o4000


@needs_root
def test_a_command_of_exec_is_under_the_same_filter_and_user(rootfs: Path, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(
        json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]})
    )
    forever = ("bash", "-c", "echo ready; sleep 1000")

    with running("run", "--name", "own", "-u", "33", "--security-opt", f"seccomp={path}", rootfs, *forever, says="ready"):
        path.unlink()
        status = said("exec", "own", *FACTS)
        assert (fact("Seccomp", status), fact("Uid", status), fact("CapEff", status)) == ("2", "33", "0" * 16)
        assert scratchlab("exec", "own", "mkdir", "/tmp/new").returncode == 1


@needs_root
def test_a_kill_by_the_filter_is_said_to_be_one(rootfs: Path) -> None:
    unshare = ("python3", "-c", "import ctypes; ctypes.CDLL(None).unshare(0x10000000)")

    done = scratchlab("run", "--network", "none", "--security-opt", "seccomp=kill", rootfs, *unshare)
    assert done.returncode == 128 + 31 and "killed by the seccomp filter" in done.stderr
    assert said("run", "--network", "none", "--security-opt", "seccomp=log", rootfs, *unshare) == ""


@needs_root
def test_bad_options_get_a_message_and_touch_nothing(rootfs: Path) -> None:
    complains(2, "'FLY' is not a capability", "run", "--cap-add", "FLY", rootfs, "true")
    complains(2, "no such option", "run", "--security-opt", "x", rootfs, "true")
    complains(2, "is not JSON", "run", "--security-opt", "seccomp=/etc/passwd", rootfs, "true")
