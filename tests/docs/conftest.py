"""The documentation, built once for all tests of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import ROOT


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, built in a network namespace without any link: whatever would be fetched, fails."""
    pytest.importorskip("myst_nb", reason="needs Sphinx and MyST-NB: run as `sudo ./lab test`")
    folder = tmp_path_factory.mktemp("docs")
    offline = ["unshare", "--net"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*offline, sys.executable, str(ROOT / "tools/docs.py"), "build", str(folder)],
        capture_output=True, text=True, check=False, timeout=600, cwd="/",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout == f"{folder}/html/index.html\n"
    return folder / "html"
