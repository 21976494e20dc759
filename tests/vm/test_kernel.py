"""The kernel `scratchlab` behaves as a kernel does, and each start of it is a clean machine, as root."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jupyter_client.session import Session

from scratchlab.vm import registry
from tests.command_line import said
from tests.conftest import eventually
from tests.vm.kernels import Kernel, started


def test_a_cell_runs_as_root_on_another_kernel_than_ours(common: Kernel) -> None:
    shown = common.cell("import os; print(os.getuid(), os.uname().release, os.getcwd())").text.split()

    assert [shown[0], shown[2]] == ["0", "/root"]
    assert shown[1] != Path("/proc/sys/kernel/osrelease").read_text().strip()


def test_a_result_an_error_and_what_a_child_prints_are_shown(common: Kernel) -> None:
    assert common.cell("6 * 7").text == "42"
    assert common.cell("1 / 0").error == "ZeroDivisionError: division by zero"
    assert (
        common.cell("import subprocess; print(subprocess.run(['echo', 'child'], capture_output=True).stdout)").text
        == "b'child\\n'"
    )


def test_the_library_builds_sandboxes_there(common: Kernel) -> None:
    shown = common.cell("from scratchlab import Sandbox, stages; box = Sandbox(); box.apply(stages.unshare_uts)")
    assert shown.error == "" and "uts namespace   host → new" in shown.text

    assert common.cell("box.apply(stages.hostname, 'web'); print(box.run('hostname').out, os.uname().nodename)").text == "web lab"


def test_five_megabytes_of_output_arrive_whole(common: Kernel) -> None:
    assert len(common.cell("print('x' * 5_000_000)").text) == 5_000_000


def test_tab_completes_without_waiting_for_jedi(common: Kernel) -> None:
    common.cell("import subprocess")
    reply = common.client.complete("subprocess.run(['ls']).st", reply=True, timeout=20)
    assert reply["content"]["status"] == "ok"

    assert common.client.complete("subprocess.ru", reply=True, timeout=20)["content"]["matches"] == [".run"]
    assert common.cell("get_ipython().Completer.use_jedi").text == "False"


def test_no_two_kernels_number_their_messages_alike(kernel: Kernel) -> None:
    def number() -> str:
        return str(kernel.client.kernel_info(reply=True, timeout=20)["header"]["msg_id"])

    before = number().partition("_")[0]
    kernel.restart()

    assert before and before != number().partition("_")[0]


def test_input_asks_the_front_end(common: Kernel) -> None:
    def answer(message: object) -> None:
        common.client.input("Ann")

    reply = common.client.execute_interactive("name = input('who? ')", timeout=30, stdin_hook=answer, allow_stdin=True)

    assert reply["content"]["status"] == "ok"
    assert common.cell("name").text == "'Ann'"


def test_the_heart_beats(common: Kernel) -> None:
    assert eventually(common.client.hb_channel.is_beating)


def test_an_interrupt_ends_a_cell_and_not_the_kernel(common: Kernel) -> None:
    common.cell("kept = 1")
    for code in ("import time; time.sleep(1000)", "while True: pass", "import subprocess; subprocess.run(['sleep', '1000'])"):
        number = common.begin(code)
        assert common.interrupt(number)["ename"] == "KeyboardInterrupt"

    assert common.cell("kept").text == "1"


def test_no_interrupt_comes_too_early_for_a_cell_that_goes_to_sleep(common: Kernel) -> None:
    for _ in range(30):
        number = common.begin("import time; time.sleep(1000)")
        assert common.interrupt(number)["ename"] == "KeyboardInterrupt"


def test_a_signal_of_the_terminal_is_none_of_the_kernels_business(common: Kernel) -> None:
    common.manager.signal_kernel(signal.SIGINT)

    assert common.cell("1").text == "1"


def test_a_message_without_the_key_is_not_even_answered(common: Kernel) -> None:
    client = common.manager.client()
    client.session = Session(key=b"another")
    client.start_channels(hb=False)
    client.execute("open('/tmp/intruded', 'w')")
    client.stop_channels()

    assert common.cell("os.path.exists('/tmp/intruded')").text == "False"


def test_a_restart_gives_a_clean_machine(kernel: Kernel) -> None:
    for now in (False, True):
        before = kernel.qemu
        kernel.cell(
            "x = 1; open('/etc/changed', 'w'); import subprocess; subprocess.run(['ip', 'link', 'add', 'd0', 'type', 'dummy'])"
        )
        kernel.restart(now)

        assert kernel.qemu != before
        assert kernel.cell("x").error == "NameError: name 'x' is not defined"
        assert (
            kernel.cell("import os; os.path.exists('/etc/changed'), os.listdir('/sys/class/net')").text
            == "(False, ['lo', 'eth0'])"
        )


def test_two_restarts_at_once_end_with_one_machine(kernel: Kernel) -> None:
    # A user's restart can meet the one of a server that believes the kernel dead: two launchers want the same ports.
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(kernel.manager.restart_kernel, now=True) for _ in range(2)]:
            done.exception()
    kernel.client.wait_for_ready(timeout=100)

    assert kernel.cell("1").text == "1"
    assert eventually(lambda: len(machines_in(kernel.folder)), 1) == 1


def machines_in(folder: Path) -> list[registry.Entry]:
    return [entry for entry in registry.entries() if entry.facts.get("about") == f"a notebook in {folder.name}"]


def test_a_shutdown_leaves_nothing(built: None, specs: Path, tmp_path: Path) -> None:
    with started(specs, tmp_path) as kernel:
        owner, qemu = kernel.pid, kernel.qemu

    assert not Path(f"/proc/{qemu}").exists()
    assert owner not in [entry.facts.get("owner") for entry in registry.entries()]


def test_a_machine_is_called_as_its_notebook_and_can_be_entered_by_it(built: None, specs: Path, tmp_path: Path) -> None:
    name = str(tmp_path / "07-pid namespaces.ipynb")
    with started(specs, tmp_path, JPY_SESSION_NAME=name) as kernel, started(specs, tmp_path, JPY_SESSION_NAME=name) as other:
        kernel.cell("open('/tmp/made-by-the-notebook', 'w')")

        assert said("vm", "run", "--name", "07-pid-namespaces", "--", "ls", "/tmp/made-by-the-notebook").strip()
        assert registry.find("07-pid-namespaces-2").facts["owner"] == other.pid
        assert registry.find("07-pid-namespaces").facts["notebook"] == "07-pid namespaces.ipynb"
        assert kernel.cell("import os; os.environ['JPY_SESSION_NAME']").text == repr(name)


def test_variables_of_ours_reach_the_cell_and_others_do_not(built: None, specs: Path, tmp_path: Path) -> None:
    with started(specs, tmp_path, SCRATCHLAB_LESSON="7", SECRET_TOKEN="x") as kernel:
        assert kernel.cell("import os; os.environ.get('SCRATCHLAB_LESSON'), os.environ.get('SECRET_TOKEN')").text == "('7', None)"


def test_a_connection_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    for name in ("bad.json", "missing.json"):
        command = [sys.executable, "-m", "scratchlab.vm.kernel", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)

        assert done.returncode == 1
        assert done.stderr.startswith("scratchlab: ") and "Traceback" not in done.stderr
