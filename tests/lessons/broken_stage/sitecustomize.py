"""A switch for tests only: SCRATCHLAB_TEST_BREAKS=hostname makes that stage do nothing, wherever it is called.

Python imports a module of this name when it starts, if it is on the path; and this directory is on the path of nobody but the
kernels of `tests/lessons/breaking.py`. A stage of ours travels to an agent by its name, so it is broken in the keeper, of which
agents are forked, as well as in the notebook. What `show` prints, and what a stage takes, stays as it is.
"""

import functools
import os
import sys
from typing import Any

PROGRAMS = {"ipykernel_launcher", "scratchlab.sandbox.keeper"}


def break_stage(name: str) -> None:
    """Put a function that does nothing in the place of a stage's own."""
    from scratchlab.stages import STAGES

    stage: Any = STAGES[name]
    whole = stage.__wrapped__

    @functools.wraps(whole)
    def does_nothing(*_args: object, **_kwargs: object) -> None: ...

    stage.__wrapped__ = does_nothing  # what `perform` calls
    for cell in stage.__closure__ or ():
        if cell.cell_contents is whole:
            cell.cell_contents = does_nothing  # what a direct call calls


if (broken := os.environ.get("SCRATCHLAB_TEST_BREAKS")) and PROGRAMS & {*sys.orig_argv}:
    break_stage(broken)
