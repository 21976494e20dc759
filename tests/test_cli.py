"""The command line: its options, what it does with files and signals, and what bad input gets."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from scratchlab import linux
from scratchlab.linux import Clone, Mount
from tests.command_line import ENVIRONMENT, SCRATCHLAB, complains, init_of, running, said, scratchlab
from tests.conftest import eventually, in_child, needs_root

pytestmark = needs_root

ENDLESS = "echo ready; while :; do sleep 0.1; done"


# -- options ----------------------------------------------------------------------------------------------------------


def test_env_workdir_and_home_are_the_commands(rootfs: Path) -> None:
    show = ("bash", "-c", "echo $A:$PASSED:$HOME:$PATH:$PWD")
    said_ = said("run", "-e", "A=b=c", "--env", "PASSED", "-w", "/etc", rootfs, *show, env={**ENVIRONMENT, "PASSED": "on"})

    assert said_ == "b=c:on:/root:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/etc\n"


def test_nothing_of_our_own_environment_is_passed_on_unasked(rootfs: Path) -> None:
    names = {line.partition("=")[0] for line in said("run", rootfs, "env", env={**ENVIRONMENT, "SECRET": "1"}).splitlines()}

    assert names - {"TERM"} == {"PATH", "HOME", "HOSTNAME"}


@pytest.mark.parametrize(
    ("user", "uid", "gid"), [("1000", 1000, 1000), ("1000:1001", 1000, 1001), ("nobody", 65534, 65534), ("0:5", 0, 5)]
)
def test_user_is_who_the_command_is(rootfs: Path, user: str, uid: int, gid: int) -> None:
    status = said("run", "--user", user, rootfs, "grep", "-e", "^[UG]id", "-e", "CapEff", "/proc/self/status").split()

    assert status[:10] == ["Uid:", *[str(uid)] * 4, "Gid:", *[str(gid)] * 4]
    assert (status[11] == "0000000000000000") == (uid != 0)


def test_a_volume_is_written_to_and_a_read_only_one_is_not(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "words").write_text("from the host\n")
    one, other = f"{tmp_path}:/data", f"{tmp_path}/words:/mnt/words:ro"

    done = scratchlab(
        "run", "-v", one, "--volume", other, rootfs, "bash", "-c", "cat /mnt/words; touch /data/new; echo >/mnt/words"
    )

    assert (done.returncode, done.stdout) == (1, "from the host\n")
    assert "Read-only file system" in done.stderr
    assert (tmp_path / "new").exists() and (tmp_path / "words").read_text() == "from the host\n"
    assert not (rootfs / "data").exists() and not (rootfs / "mnt/words").exists()


def test_a_volume_may_bring_the_command(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "hello").write_text("#!/bin/sh\necho from a volume\n")
    (tmp_path / "hello").chmod(0o755)

    assert said("run", "-v", f"{tmp_path}:/opt", rootfs, "/opt/hello") == "from a volume\n"


@pytest.mark.parametrize("way", [(), ("--chroot",)], ids=["pivot_root", "chroot"])
def test_read_only_is_the_root_but_not_dev(rootfs: Path, way: tuple[str, ...]) -> None:
    done = scratchlab("run", "--read-only", *way, rootfs, "bash", "-c", "echo >/dev/null && echo x >/dev/shm/x && echo >/x")

    assert done.returncode == 1 and "/x: Read-only file system" in done.stderr
    assert not (rootfs / "x").exists()
    assert said("run", *way, rootfs, "bash", "-c", "echo written >/x; cat /x; rm /x") == "written\n"


def test_limits_can_be_left_out_and_chosen(rootfs: Path) -> None:
    none = ("--cpus", "none", "--memory", "none", "--pids", "none")
    plan = said("run", "--dry-run", *none, rootfs, "true")
    chosen = said("run", "--dry-run", "--cpus", "0.5", "--memory", "64M", "--pids", "9", rootfs, "true")

    assert not {"cpu", "memory", "pids"} & {line.partition("(")[0] for line in plan.splitlines()}
    assert {"cpu('0.5')", "memory('64M')", "pids('9')"} <= set(chosen.splitlines())
    assert said("run", *none, rootfs, "echo", "unlimited") == "unlimited\n"


def test_stages_can_be_left_out_but_not_where_others_would_then_harm_the_host(rootfs: Path) -> None:
    assert said("run", "--without", "hostname", rootfs, "hostname") == f"{os.uname().nodename}\n"
    assert said("run", "--without", "unshare_uts", "--without", "hostname", rootfs, "echo", "fine") == "fine\n"
    for first, then in (
        ("unshare_uts", "hostname"),
        ("unshare_mount", "pivot"),
        ("private_mounts", "pivot"),
        ("unshare_net", "veth"),
    ):
        complains(2, f"without {first}, .* would act on the host itself: .*{then}", "run", "--without", first, rootfs, "true")
    complains(2, "--without everything: no such stage", "run", "--without", "everything", rootfs, "true")


def test_a_dry_run_needs_no_root_and_makes_nothing(rootfs: Path) -> None:
    words = ("run", "--dry-run", "--publish", "80:80", "/nowhere", "true")

    plan = said(*words).splitlines()
    nobodys = scratchlab("run", "--dry-run", "--network", "none", "/nowhere", "true", nobody=True).stdout.splitlines()

    assert plan[:2] == ["memory('2G')", "pids(512)"] and "publish('80:80')" in plan
    assert nobodys[:1] == ["unshare_user()"] and set(plan) - set(nobodys) >= {"memory('2G')", "veth()", "nat()"}


@pytest.mark.parametrize("option", ["-p", "-publish", "--publish"])
@pytest.mark.parametrize("joint", [" ", "="])
def test_publish_is_written_in_three_ways(option: str, joint: str) -> None:
    words = f"{option}{joint}8080:80/udp".split() if option != "-p" or joint == " " else ["-p8080:80/udp"]

    assert "publish('8080:80/udp')" in said("run", "--dry-run", *words, "/nowhere", "true")


def test_everything_after_the_command_is_its_own(rootfs: Path) -> None:
    assert said("run", rootfs, "echo", "--name", "x", "-p", "--", "-h") == "--name x -p -- -h\n"
    assert said("run", rootfs, "--", "echo", "x") == said("run", "--", rootfs, "echo", "x") == "x\n"
    complains(2, "--name stands where the command should\n  hint: options go before", "run", rootfs, "--name", "x", "echo")


# -- files and signals ------------------------------------------------------------------------------------------------


def test_input_and_output_are_piped_through(rootfs: Path) -> None:
    assert said("run", rootfs, "cat", input="typed\n" * 50_000) == "typed\n" * 50_000
    done = scratchlab("run", rootfs, "bash", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_a_reader_that_leaves_early_ends_the_command_as_usual(rootfs: Path) -> None:
    with running("run", "--cpus", "1", rootfs, "seq", "1000000000") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        process.stdout.close()

        assert process.wait(30) == 128 + signal.SIGPIPE


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 77", 77), ("kill -TERM $$", 143), ("kill -KILL $$", 137)])
def test_the_exit_status_is_the_commands(rootfs: Path, script: str, status: int) -> None:
    assert scratchlab("run", "--network", "none", rootfs, "bash", "-c", script).returncode == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_handed_on(rootfs: Path, number: signal.Signals) -> None:
    trap = f"trap 'echo got {number.name}; exit 9' {number.name[3:]}; {ENDLESS}"
    with running("run", rootfs, "bash", "-c", trap, says="ready") as process:
        process.send_signal(number)

        assert process.wait(30) == 9
        assert process.stdout is not None and process.stdout.read() == f"got {number.name}\n"


def test_a_command_that_ignores_sigterm_goes_on(rootfs: Path) -> None:
    with running("run", "--name", "deaf", rootfs, "bash", "-c", f"trap 'echo no' TERM; {ENDLESS}", says="ready") as process:
        process.terminate()

        assert process.stdout is not None and process.stdout.readline() == "no\n"
        assert process.poll() is None
        said("stop", "--time", "0", "deaf")


def test_the_container_ends_with_its_command_and_daemons_with_it(rootfs: Path) -> None:
    daemon = "nohup bash -c 'trap \"\" TERM HUP; sleep 31415; :' >/dev/null 2>&1 & echo started"

    assert said("run", rootfs, "bash", "-c", daemon) == "started\n"
    assert subprocess.run(["pgrep", "-f", "^sleep 31415"], capture_output=True, check=False).stdout == b""


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]], ids=str)
def test_closed_standard_files_are_like_dev_null(rootfs: Path, closed: list[int]) -> None:
    def close() -> None:
        for number in closed:
            os.close(number)

    script = "ls -l /proc/self/fd | grep -c /dev/null; exit 5"
    done = subprocess.run(
        [*SCRATCHLAB, "run", str(rootfs), "bash", "-c", script], input="", capture_output=True, text=True,
        env=ENVIRONMENT, preexec_fn=close, check=False, timeout=60,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (5, "")
    assert done.stdout == ("" if 1 in closed else "1\n")


def test_output_that_cannot_be_written_is_said_in_words() -> None:
    with open("/dev/full", "w") as full:
        done = scratchlab("ps", capture_output=False, stdout=full, stderr=subprocess.PIPE)

    assert (done.returncode, done.stderr) == (125, "scratchlab: [Errno 28] No space left on device\n")


# -- the other commands -----------------------------------------------------------------------------------------------


def test_without_a_command_help_is_shown() -> None:
    done = scratchlab()

    assert done.returncode == 2 and done.stderr.startswith("usage: scratchlab")
    assert said("--help").startswith("usage: scratchlab") and said("run", "--help").startswith("usage: scratchlab run")
    assert said("--version").startswith("scratchlab ")


def test_the_tour_builds_shows_and_takes_down(rootfs: Path) -> None:
    shown = said("tour", rootfs)

    assert "A promise that the kernel keeps" in shown and "Everything is taken back" in shown
    assert "PRETTY_NAME=" in shown.partition("host$ curl")[2]
    assert [line for line in shown.splitlines() if len(line) > 120 and str(rootfs) not in line] == []


def test_clean_takes_back_what_a_killed_program_left(rootfs: Path) -> None:
    with running("run", "--name", "killed", rootfs, "bash", "-c", ENDLESS, says="ready") as process:
        init_of("killed")
        process.kill()
        process.wait()

    assert "cleaned killed\n" in said("clean")
    assert "cleaned killed\n" not in said("clean")


def test_a_root_filesystem_is_made_and_described(tmp_path: Path) -> None:
    made = said("rootfs", "create", tmp_path / "new", "--from", "host", "echo")

    assert made.startswith(f"{tmp_path}/new: 1 program, ")
    assert said("run", "--network", "none", tmp_path / "new", "echo", "works") == "works\n"


def test_a_full_disk_while_building_leaves_nothing(tmp_path: Path) -> None:
    def build() -> list[str]:
        linux.unshare(Clone.NEWNS)
        linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)
        linux.mount("tmpfs", str(tmp_path), "tmpfs", Mount(0), "size=1m")
        complains(
            125,
            "No space left on device.*\n  hint: free space there",
            "rootfs",
            "create",
            tmp_path / "new",
            "--from",
            "host",
            "bash",
        )
        return os.listdir(tmp_path)

    assert in_child(build) == []


def test_a_name_is_given_once(rootfs: Path) -> None:
    with running("run", "--name", "one", rootfs, "bash", "-c", ENDLESS, says="ready"):
        complains(125, "the name 'one' is taken", "run", "--name", "one", rootfs, "true")
    assert eventually(lambda: "one" not in said("ps"))
