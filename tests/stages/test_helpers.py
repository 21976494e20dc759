"""Processes that work for a sandbox on the host's side."""

import os
import signal
from contextlib import suppress

from scratchlab.journal import Journal
from scratchlab.stages import helpers
from scratchlab.stages.stage import Target
from tests.conftest import in_child, needs_root

pytestmark = needs_root


def test_a_signal_to_a_helper_is_not_written_to_the_file_that_has_the_number_of_its_keepers_pipe() -> None:
    def act() -> bytes:
        reader, writer = os.pipe()
        for end in (reader, writer):
            os.set_blocking(end, False)
        signal.signal(signal.SIGWINCH, lambda *_: None)  # as `scratchlab run` has it: somebody resizes the terminal
        signal.set_wakeup_fd(writer)
        kept = Journal.claim("helped")
        try:
            helpers.start(Target(os.getpid(), kept), lambda _end: signal.raise_signal(signal.SIGWINCH), "no helper")
        finally:
            kept.close()
        with suppress(BlockingIOError):
            return os.read(reader, 64)
        return b""

    assert in_child(act) == b""
