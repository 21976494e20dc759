"""The same sandbox in a Jupyter kernel: in cells, in async cells, interrupted, restarted."""

import os
import sys
import time

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from tests.conftest import eventually, needs_root

pytestmark = needs_root

CELLS = {
    "imports": "import os\nfrom scratchlab import Sandbox, linux, stages\nbox = Sandbox('cell')",
    "apply": "box.apply(stages.unshare_uts)",
    "own function": "def mine(name):\n    linux.sethostname(name)\n\nbox.apply(mine, 'from-a-cell')",
    "run": "box.run('hostname').out",
    "stream": "_ = box.run('echo', 'streamed', stream=True)",
    "async": """
import asyncio
await asyncio.sleep(0)
box.apply(stages.unshare_net)
box.run('cat', '/proc/net/dev').lines[-1].split()[0]
""",
    "direct": "try:\n    stages.unshare_uts()\nexcept Exception as error:\n    print(error)",
    "untouched": "os.uname().nodename",
    "pyroute2 of the learner's own": """
import pyroute2
async with pyroute2.AsyncIPRoute() as ipr:
    print(len([link async for link in await ipr.link('dump')]) > 0)
""",
    "close": "box.close()\nbox",
}


@pytest.fixture(scope="module")
def outputs():
    """The text that each cell of a notebook gave, run in one kernel."""
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    return {name: "".join(_text(output) for output in cell.outputs) for name, cell in zip(CELLS, notebook.cells, strict=True)}


def _text(output):
    return output.get("text") or output["data"]["text/plain"]


def test_a_stage_is_applied_from_a_cell(outputs):
    assert "uts namespace" in outputs["apply"]
    assert "unshare(flags=NEWUTS)" in outputs["apply"]


def test_a_function_defined_in_a_cell_is_applied(outputs):
    assert "from-a-cell" in outputs["own function"]
    assert outputs["run"] == "'from-a-cell'"


def test_streamed_output_is_the_cells_output(outputs):
    assert outputs["stream"] == "streamed\n"


def test_an_async_cell_works_too(outputs):
    assert outputs["async"] == "'lo:'"


def test_a_stage_called_directly_in_the_kernel_is_refused_with_the_way_out(outputs):
    assert "Jupyter kernel" in outputs["direct"]
    assert "Sandbox().apply(stages.unshare_uts" in outputs["direct"]


def test_the_kernel_itself_is_never_touched(outputs):
    assert outputs["untouched"] == repr(os.uname().nodename)
    assert outputs["pyroute2 of the learner's own"] == "True\n"


@pytest.fixture
def kernel():
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=os.getcwd())
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def _say(client, code):
    """Execute, and give the text that came out."""
    said = []
    client.execute_interactive(code, timeout=60, output_hook=lambda message: said.append(message["content"]))
    return "".join(content.get("text", "") + "".join(content.get("traceback", [])) for content in said)


def test_an_interrupted_cell_ends_the_command_and_the_sandbox_lives_on(kernel):
    manager, client = kernel
    _say(client, "from scratchlab import Sandbox, stages\nbox = Sandbox('interrupted')")
    # By default a kernel ends, with a cell that fails, all that was asked meanwhile: on a slow machine, also our next question.
    message = client.execute("box.run('sleep', '1000')", stop_on_error=False)
    pid = int(_agent_pid("interrupted"))
    assert eventually(lambda: bool(_children(pid)))

    manager.interrupt_kernel()

    while client.get_shell_msg(timeout=60)["parent_header"]["msg_id"] != message:
        pass
    assert eventually(lambda: _children(pid), []) == []
    assert "still here" in _say(client, "print(box.run('echo', 'still here').out)")


@pytest.mark.parametrize("end", ["restart", "kill"])
def test_a_kernel_that_ends_takes_its_sandboxes_with_it(kernel, end):
    manager, client = kernel
    _say(client, "from scratchlab import Sandbox, stages\nbox = Sandbox('ended')\nbox.apply(stages.memory, '64M')")
    pid = int(_agent_pid("ended"))

    manager.restart_kernel(now=False) if end == "restart" else os.kill(manager.provisioner.pid, 9)

    assert eventually(lambda: os.path.exists(f"/proc/{pid}"), False) is False


def _agent_pid(name):
    from scratchlab import journal

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for entries in journal.journals():
            if entries.name == name and "pid" in entries.facts:
                return entries.facts["pid"]
        time.sleep(0.02)
    raise AssertionError(f"no sandbox {name}; python is {sys.executable}")


def _children(pid):
    try:
        return open(f"/proc/{pid}/task/{pid}/children").read().split()
    except OSError:
        return []
