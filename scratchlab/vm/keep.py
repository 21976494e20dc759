"""A machine that stays when the command that started it has ended: this program is its owner, and waits for its end.

    python -m scratchlab.vm.keep '{"name": "web", "memory": 512, …}'

It says one JSON object when the machine runs, or why it does not, and then lets go of the files that it was given.
"""

import json
import os
import signal
import subprocess
import sys
from typing import Any

from scratchlab.errors import HostError, ScratchlabError, from_wire, to_wire


def start(settings: dict[str, Any]) -> str:
    """Start a keeper with a machine of these settings, for Machine.start. Gives the machine's name, once it runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scratchlab.vm.keep", json.dumps(settings)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True, cwd=_root(),
    )  # fmt: skip
    assert process.stdout
    try:
        with process.stdout:
            line = process.stdout.readline()
    except BaseException:  # Ctrl-C: nobody wants the machine any more
        process.terminate()
        process.wait()
        raise
    said = json.loads(line or "{}")
    if "name" in said:
        return str(said["name"])
    process.wait()
    raise from_wire(said["error"]) if "error" in said else HostError("the machine's keeper died without a word", "try again")


def _root() -> str:
    """A directory that nobody wants to unmount or remove."""
    return os.path.abspath(os.sep)


def main(settings: dict[str, Any]) -> int:
    """Be the keeper."""
    from scratchlab.vm.machine import Machine
    from scratchlab.vm.progress import for_terminal

    # `vm stop` ends the machine, and we end with it. Whoever ends us instead wants the same.
    signal.signal(signal.SIGTERM, _end)
    try:
        machine = Machine.start(**settings, settings=settings, progress=for_terminal(), say=_say)
    except ScratchlabError as error:
        print(json.dumps({"error": to_wire(error)}), flush=True)
        return 1
    with machine:
        print(json.dumps({"name": machine.name}), flush=True)
        _let_go()
        machine.wait()
    return 0


def _end(*_: Any) -> None:
    raise SystemExit(0)


def _say(sentence: str) -> None:
    print(f"scratchlab: {sentence}", file=sys.stderr, flush=True)


def _let_go() -> None:
    """Whoever started us waits for the end of its output, perhaps in a pipeline."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):
        os.dup2(null, number)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
