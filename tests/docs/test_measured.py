"""What the pages say that a stage changes: it was measured, and it is so today."""

import subprocess
import sys

import pytest

from scratchlab.stages import STAGES
from tests.command_line import ROOT
from tests.conftest import needs_root
from tools.pages import demonstrations, measured


@pytest.mark.parametrize("name", STAGES)
def test_what_a_stage_changes_is_stored_or_there_is_a_reason_why_not(name: str) -> None:
    assert bool(measured.stored(name)) != (name in demonstrations.NOT_HERE)


@needs_root
def test_what_the_stages_change_is_what_is_stored() -> None:
    words = [sys.executable, str(ROOT / "tools/docs.py"), "measure", "--check"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)

    assert (done.stdout, done.stderr) == ("all as stored\n", "")
