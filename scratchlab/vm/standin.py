"""What answers in a kernel's place when there is none: each cell is told why, and what to do.

A kernel that merely ends tells a learner nothing: Jupyter starts another one, or shows a spinning wheel.
"""

import sys
from typing import Any

from scratchlab.errors import ScratchlabError
from scratchlab.vm.messages import Request
from scratchlab.vm.ports import Ports

_TICK = 0.5


def kernel_info() -> dict[str, Any]:
    """What every front end asks a kernel first."""
    version = sys.version.split()[0]
    mime = {"name": "ipython", "version": 3}
    return {
        "status": "ok", "protocol_version": "5.3", "implementation": "scratchlab", "implementation_version": "1",
        "banner": "Scratchlab", "help_links": [], "supported_features": [],
        "language_info": {"name": "python", "version": version, "mimetype": "text/x-python", "file_extension": ".py",
                          "codemirror_mode": mime, "pygments_lexer": "ipython3", "nbconvert_exporter": "python"},
    }  # fmt: skip


def stand_in(ports: Ports, problem: ScratchlabError, waiting: list[Request]) -> None:
    """Answer what waits, and all that comes, with the problem; until Jupyter ends us, by raising Shutdown."""
    while True:
        for request in waiting:
            answer(ports, request, problem)
        waiting, _ = ports.wait(_TICK)


def answer(ports: Ports, request: Request, problem: ScratchlabError) -> None:
    """Answer one request."""
    if request.channel == "stdin":
        return
    ports.publish("status", {"execution_state": "busy"}, request.header)
    if request.kind == "kernel_info_request":
        ports.reply(request, kernel_info())
    elif request.kind == "interrupt_request":
        ports.reply(request, {"status": "ok"})
    else:
        failure = {"ename": type(problem).__name__, "evalue": str(problem), "traceback": _traceback(problem)}
        if request.kind == "execute_request":
            ports.publish("error", failure, request.header)
        ports.reply(request, {"status": "error", "execution_count": 0, **failure})
    ports.publish("status", {"execution_state": "idle"}, request.header)


def _traceback(problem: ScratchlabError) -> list[str]:
    message = f"\x1b[0;31m{type(problem).__name__}\x1b[0m: {problem.message}"
    return [message, *([f"  hint: {problem.hint}"] if problem.hint else [])]
