"""A notebook of pictures, run and stored, is compared strictly by nbval in a second run, and is found the same."""

import subprocess
import sys

import nbformat
from nbclient import NotebookClient

from tests.conftest import needs_root

pytestmark = needs_root

CELLS = [
    "%load_ext scratchlab\nfrom scratchlab import Sandbox, show, stages, views\nbox = Sandbox('kept')",
    "box.apply(stages.memory, '64M')\nbox.apply(stages.unshare_uts)\nbox.apply(stages.unshare_pid)",
    "views.namespaces(box)",
    "views.processes(box)",
    "views.mounts(box)",
    "views.cgroup(box)",
    "views.ledger(box.apply(stages.unshare_net))",
    "views.wiring(box)",
    "show(stages.hostname)",
    "%%both box\necho $$ | wc -l",
    "chart = views.live(box, 'sleep', '1000', seconds=600)\nchart",
    "print(chart.stop())",
    "box.close()",
]


def test_the_second_run_of_a_stored_notebook_gives_the_same_outputs(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    nbformat.write(notebook, tmp_path / "kept.ipynb")

    command = [sys.executable, "-m", "pytest", "-q", "--nbval", "--nbval-cell-timeout=60", "-p", "no:cacheprovider", "kept.ipynb"]
    compared = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert compared.returncode == 0, compared.stdout
    assert f"{len(CELLS)} passed" in compared.stdout
