"""What experiments and exercises are made with: an act in a sandbox, and an act in a child."""

import os
import signal
from collections.abc import Callable
from typing import Any

from scratchlab.sandbox import Sandbox, answers
from scratchlab.sandbox.steps import pack
from scratchlab.sandbox.wire import close_all
from scratchlab.stages import step


def inside(act: Callable[[], Any], *before: Callable[..., Any]) -> Any:
    """What a function returns in a sandbox that has come so far."""
    with Sandbox("experiment") as box:
        box.play([step(stage) for stage in before])
        return box.play([step(act)])[0]["value"]


def let(box: Sandbox, act: Callable[..., Any], *args: Any) -> Any:
    """What a learner's function returns in a sandbox; what it prints in there is printed here, where the learner looks."""
    done = box.play([step(act, *args)], ledger=True)[0]  # without a ledger, nobody keeps what is printed
    print(done["printed"], end="")
    return done["value"]


def asked(box: Sandbox, act: Callable[..., Any], *args: Any) -> Any:
    """What a function returns in a living sandbox, without becoming one of its steps."""
    answer = box.ask({"do": "inside", "steps": [pack(step(act, *args))], "ledger": False})
    close_all(answer.fds)
    done, error = answers.results(answer.body, 1)
    if error:
        raise error
    return done[0]["value"]


def in_child(act: Callable[[], Any]) -> int:
    """Do `act` in a child and wait for it. Gives its wait status, as waitstatus_to_exitcode(3) reads it."""
    pid = os.fork()
    if pid == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        status = 99
        try:
            status = int(act() or 0)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
