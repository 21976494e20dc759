"""./lab in a checkout of its own, with stand-ins for the programs that install things: what it calls, and what it says.

The real thing, with the real pip, is what `.ci/run` does before it can run this file.
"""

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from tests.checkout import HERE, LOGGED, SCRATCHLAB, Checkout
from tests.conftest import eventually

MACHINES = """
[ "$1" = vm ] || exit 0
trap 'kill $!; echo machines have ended >>"$LOG"; exit' TERM
sleep 1000 &
echo machines >>"$LOG"
wait
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_the_first_call_sets_up_and_then_opens_the_lessons(checkout: Checkout) -> None:
    ran = checkout.lab()

    assert ran.status == 0
    assert ran.calls[0] == f"python -m venv {checkout.root}/.venv"
    assert all(call.startswith("python -m pip install") for call in ran.calls[1:4])
    assert ran.calls[4:] == ["scratchlab lab"]


@pytest.mark.parametrize("words", [["lab", "--no-browser", "--port", "9000"], ["--no-browser", "--port", "9000"]])
def test_options_are_for_the_lessons_with_or_without_the_word(checkout: Checkout, words: list[str]) -> None:
    assert checkout.lab(*words).calls[-1] == "scratchlab lab --no-browser --port 9000"


@pytest.mark.parametrize("words", [[], ["lab"], ["vm", "list"], ["kernel", "list"], ["doctor"]])
def test_who_may_not_install_can_have_the_lessons_and_the_doctor(checkout: Checkout, words: list[str]) -> None:
    (checkout.stand_ins / "busybox").unlink()
    checkout.stand_in("id", "#!/bin/sh\necho 1000\n")

    ran = checkout.lab(*words)

    assert ran.status == 0 and not ran.asked("apt-get") and not ran.asked("rootfs")


def test_lessons_on_this_machine_itself_want_its_programs(checkout: Checkout) -> None:
    (checkout.stand_ins / "busybox").unlink()

    ran = checkout.lab("--no-browser", "--local")

    assert ran.asked("apt-get") and ran.asked("rootfs create") and ran.calls[-1] == "scratchlab lab --no-browser --local"


def test_the_tour_is_in_the_root_filesystem_of_the_checkout_or_in_another(checkout: Checkout) -> None:
    rootfs = f"{checkout.root}/.lab/rootfs"
    ran = checkout.lab("tour")

    assert ran.calls[4].startswith(f"scratchlab rootfs create {rootfs} --from host bash sh")
    assert ran.calls[5:] == [f"scratchlab tour {rootfs}"]
    assert checkout.lab("tour", "/other").calls == ["scratchlab tour /other"]


def test_set_up_says_what_it_installs_and_keeps_out_of_standard_output(checkout: Checkout) -> None:
    ran = checkout.lab("ps")

    assert ".venv" in ran.err and "pyproject.toml" in ran.err and ".lab/rootfs" in ran.err
    assert ran.out == ""


def test_the_second_call_installs_nothing(checkout: Checkout) -> None:
    checkout.lab("ps")

    ran = checkout.lab("ps")

    assert (ran.calls, ran.err) == (["scratchlab ps"], "")


def test_tests_need_more_than_the_main_job_and_bring_it_along(checkout: Checkout) -> None:
    checkout.lab("ps")

    assert checkout.lab("test").asked(":dev")
    assert "ruff check" in checkout.lab("test").calls
    assert checkout.lab("ps").calls == ["scratchlab ps"]


def test_changed_dependencies_are_installed(checkout: Checkout) -> None:
    checkout.lab("ps")
    checkout.change_dependencies()

    assert checkout.lab("ps").asked("-m pip install")


def test_a_moved_checkout_gets_its_packages_again(checkout: Checkout) -> None:
    checkout.lab("ps")
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))

    assert checkout.lab("ps").asked("-m pip install")


def test_any_word_goes_to_scratchlab_with_its_arguments_and_its_exit_status_comes_back(checkout: Checkout) -> None:
    ran = checkout.lab("frobnicate", "a  b", "*")

    assert ran.calls[-1] == "scratchlab frobnicate a  b *"
    assert ran.status == 2


def test_standard_input_is_for_the_container_and_not_for_the_set_up(checkout: Checkout) -> None:
    assert checkout.lab("cat", input="for the container").out == "for the container"


def test_help_sets_nothing_up(checkout: Checkout) -> None:
    ran = checkout.lab("help")

    assert "./lab run" in ran.out and ran.status == 0
    assert not (checkout.root / ".venv").exists()


def test_a_symbolic_link_leads_to_the_checkout(checkout: Checkout) -> None:
    link = checkout.root.parent / "elsewhere"
    link.symlink_to(checkout.root / "lab")

    checkout.lab("ps", lab=link)

    assert (checkout.root / ".venv").is_dir()


def test_a_killed_set_up_is_begun_again(checkout: Checkout) -> None:
    checkout.lab("ps")
    checkout.change_dependencies()
    killed = checkout.lab("ps", PIP_DOES="kill -KILL $PPID")
    assert killed.status == 137 and not killed.asked("scratchlab ps")

    ran = checkout.lab("ps")

    assert ran.asked("-m venv") and ran.calls[-1] == "scratchlab ps"


def test_without_a_package_index_what_was_set_up_before_is_kept(checkout: Checkout) -> None:
    checkout.lab("ps")
    checkout.change_dependencies()

    failed = checkout.lab("ps", PIP_DOES="exit 1")

    assert failed.status == 1 and "pip failed" in failed.err
    assert not checkout.lab("ps").asked("-m venv")


def test_two_at_once_set_up_once(checkout: Checkout) -> None:
    both = [checkout.start("ps", PIP_DOES="sleep 0.2") for _ in range(2)]
    said = [process.communicate()[1] for process in both]

    calls = checkout.calls()
    assert [process.returncode for process in both] == [0, 0]
    assert sum("-m venv" in call for call in calls) == 1
    assert calls.count("scratchlab ps") == 2
    assert sum("waiting" in err for err in said) == 1


def test_root_installs_the_missing_packages_and_no_others(checkout: Checkout) -> None:
    (checkout.stand_ins / "busybox").unlink()

    ran = checkout.lab("ps")

    assert "installing Debian packages: busybox-static\n" in ran.err
    assert [call.split(" install ")[1] for call in ran.calls if call.startswith("apt-get")] == ["busybox-static"]


def test_package_lists_are_fetched_only_where_it_does_not_work_without(checkout: Checkout) -> None:
    (checkout.stand_ins / "busybox").unlink()

    ran = checkout.lab("ps", LISTS_ARE_OLD="1")

    assert re.findall("apt-get.* (install|update)", "\n".join(ran.calls)) == ["install", "update", "install"]
    assert ran.status == 0


def test_who_may_not_install_is_told_the_command(checkout: Checkout) -> None:
    (checkout.stand_ins / "busybox").unlink()
    checkout.stand_in("id", "#!/bin/sh\necho 1000\n")

    ran = checkout.lab("ps")

    assert ran.err.endswith("\n    sudo apt-get install busybox-static\n")
    assert (ran.status, ran.calls) == (1, [])


def test_where_there_is_no_apt_the_packages_are_named(checkout: Checkout) -> None:
    (checkout.stand_ins / "busybox").unlink()
    (checkout.stand_ins / "apt-get").unlink()

    ran = checkout.lab("ps")

    assert "no apt-get" in ran.err and "busybox-static" in ran.err
    assert (ran.status, ran.calls) == (1, [])


def test_an_old_python_is_named_and_refused(checkout: Checkout) -> None:
    ran = checkout.lab("ps", PYTHON_SAYS="True")

    assert ran.err == "lab: Scratchlab needs Python 3.11 or newer, and found only: Python 3.9.2\n"
    assert (ran.status, ran.calls) == (1, ["python --version"])


def test_a_python_without_venv_is_completed_by_a_package(checkout: Checkout) -> None:
    assert checkout.lab("ps", PYTHON_SAYS="False").asked("install python3-venv")


def test_all_checks_run_even_if_one_fails_and_the_exit_status_says_so(checkout: Checkout) -> None:
    checkout.stand_in("mypy", "#!/bin/sh\nexit 1\n")

    ran = checkout.lab("test", "-k", "a b")

    assert ran.status == 1
    assert ran.calls[-3:] == ["ruff check", "ruff format --check", "pytest -k a b"]
    assert re.findall(r"(\w+) +(passed|FAILED) +\d+ s", ran.out) == [
        ("lint", "passed"), ("format", "passed"), ("types", "FAILED"), ("tests", "passed")
    ]  # fmt: skip


def test_machines_test_meanwhile_and_are_heard_at_the_end(checkout: Checkout) -> None:
    checkout.stand_in("pytest", "#!/bin/sh\necho here\n")
    checkout.stand_in("scratchlab", '#!/bin/sh\ncase $1 in vm) echo "$@"; exit 3 ;; rootfs) mkdir -p "$3" ;; esac\n')

    ran = checkout.lab("test")

    assert ran.status == 1
    assert re.search(r"^here\nvm test --guests [1-9]\d* --kernel\n", ran.out)
    assert re.findall(r"(\w+) +(passed|FAILED) +\d+ s", ran.out)[-2:] == [("tests", "passed"), ("vm", "FAILED")]


def test_ctrl_c_ends_the_tests_and_the_machines_too(checkout: Checkout) -> None:
    checkout.stand_in("pytest", LOGGED + "exec sleep 1000\n")
    checkout.stand_in("scratchlab", SCRATCHLAB + MACHINES)

    with checkout.start("test") as process:
        assert eventually(lambda: {"pytest ", "machines"} <= {*checkout.logged()})
        os.killpg(process.pid, signal.SIGINT)

    assert process.returncode == 130
    assert "machines have ended" in checkout.calls()


def test_the_documentation_is_built_and_what_builds_it_is_installed_once(checkout: Checkout) -> None:
    first = checkout.lab("docs")
    checkout.stand_in("sphinx-build", LOGGED)
    shutil.move(checkout.stand_ins / "sphinx-build", checkout.root / ".venv/bin")

    again = checkout.lab("docs")

    build = f"python {checkout.root}/tools/docs.py build {checkout.root}/.lab/docs"
    assert first.calls[-2:] == [
        f"python -m pip install --quiet --disable-pip-version-check --group {checkout.root}/pyproject.toml:docs",
        build,
    ]
    assert again.calls == [build]


def test_continuous_integration_does_what_a_developer_does() -> None:
    commands = [line for line in (HERE / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]

    assert os.access(HERE / ".ci/run", os.X_OK)
    assert commands == ["set -eu", 'cd "$(dirname "$0")/.."', "exec ./lab test"]
