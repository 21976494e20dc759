"""Stages called directly, on the calling process: `unshare_uts(); hostname("web")` in a plain `sudo python3`."""

import os
from collections.abc import Callable
from typing import Any, get_type_hints

from scratchlab.errors import from_wire, keep_causes
from scratchlab.sandbox import client, steps
from scratchlab.stages.stage import Step


class OwnProcess:
    """The calling process as a sandbox of its own, with the keeper outside it."""

    def __init__(self) -> None:
        self._box = ""
        self._forks = client.forks
        keep_causes()  # as long as they can be found

    def before(self, stage: Callable[..., Any]) -> None:
        """Make sure that a stage may run here: the host will not be changed by mistake."""
        self._call("missing", stage_name=stage.__name__)

    def ask_host(self, step: Step) -> Any:
        """Let the host do an outside step to this process. Gives what the stage returned."""
        self.before(step.stage)
        answer = self._call("outside", steps=[steps.pack(step)])
        if "error" in answer:
            raise from_wire(answer["error"])
        return _as_promised(step.stage, answer["ok"][0]["value"])

    def _call(self, verb: str, **body: Any) -> dict[str, Any]:
        # Started while this process still is where the host is: a keeper born after `pivot` could import nothing.
        keeper = client.keeper()
        if not self._box or self._forks != client.forks:
            answer = keeper.call("adopt", name=f"pid-{os.getpid()}", pid="sender")
            self._box, self._forks = answer.body["ok"]["name"], client.forks
            keeper.holds_us = True
        return keeper.call(verb, box=self._box, pid="sender", **body).body


def _as_promised(stage: Callable[..., Any], value: Any) -> Any:
    """The value that a stage says it returns: JSON carries a NamedTuple as its fields."""
    promised = get_type_hints(stage).get("return")
    return promised(**value) if promised and isinstance(value, dict) and hasattr(promised, "_fields") else value


OWN = OwnProcess()
