"""Steps as data: how a step travels to the process that does it, and what comes back."""

import binascii
import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from scratchlab.errors import InputError, ScratchlabError, to_wire
from scratchlab.linux.ledger import recording
from scratchlab.stages.stage import STAGES, Step, Target, check_step, perform


def pack(step: Step) -> dict[str, Any]:
    """A step as JSON: a stage of ours by name, a learner's function by value."""
    return {"stage": _pack_stage(step.stage), "args": list(step.args), "kwargs": step.kwargs}


def _pack_stage(stage: Callable[..., Any]) -> dict[str, str]:
    name = getattr(stage, "__name__", "")
    if STAGES.get(name) is stage:
        return {"name": name}
    # By value: a function from a notebook cell or a REPL exists in no module that the agent could import.
    import cloudpickle

    return {"name": name, "pickle": binascii.b2a_base64(cloudpickle.dumps(stage)).decode()}


def unpack(data: dict[str, Any]) -> Step:
    """The step that `pack` took apart. Only for requests from our own client: a pickle can run anything."""
    stage = data["stage"]
    if "pickle" in stage:
        import pickle

        function = pickle.loads(binascii.a2b_base64(stage["pickle"]))
    else:
        function = STAGES[stage["name"]]
    return Step(function, tuple(data["args"]), data["kwargs"])


def check(step: Step) -> None:
    """Refuse what is no step: not callable, or with arguments that cannot travel. Raises InputError."""
    if not callable(step.stage):
        raise InputError(f"{step.stage!r} is not a stage", "a stage is a function: box.apply(stages.hostname, 'web')")
    try:
        json.dumps([step.args, step.kwargs])
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{step.name}: these arguments cannot travel: {error}", "use text, numbers and lists") from None
    if STAGES.get(step.name) is step.stage:
        check_step(step)


def play(packed: list[dict[str, Any]], *target: Target, ledger: bool = True) -> dict[str, Any]:
    """Do steps in order. The answer holds their results, and the error of the first that failed."""
    play_one = _play_one if ledger else _just_do
    done: list[dict[str, Any]] = []
    for data in packed:
        try:
            done.append(play_one(data, *target))
        except KeyboardInterrupt:
            raise
        # A learner's function may raise anything; it must reach the learner, and the agent must live on.
        except BaseException as error:
            return {"error": to_wire(_with_cause(error)), "done": done}
    return {"ok": done}


def _with_cause(error: BaseException) -> BaseException:
    """An OSError of Python's as the system call behind it, while that can be told."""
    # Looked up, not imported: after `pivot` that would read and run what the root filesystem has under this name.
    explanation = sys.modules.get("scratchlab.errors.explanation")
    if explanation and isinstance(error, OSError) and not isinstance(error, ScratchlabError):
        return explanation.as_kernel_error(error) or error
    return error


def _play_one(data: dict[str, Any], *target: Target) -> dict[str, Any]:
    printed = io.StringIO()
    start = time.perf_counter()
    with recording() as calls, contextlib.redirect_stdout(printed):
        value = perform(unpack(data), *target)
    return {
        "value": _plain(value),
        "calls": [call._asdict() for call in calls],
        "printed": printed.getvalue(),
        "seconds": time.perf_counter() - start,
    }


def _just_do(data: dict[str, Any], *target: Target) -> dict[str, Any]:
    """Without looking: a container that is started for its command alone should not wait for its own ledger."""
    return {"value": _plain(perform(unpack(data), *target)), "calls": [], "printed": "", "seconds": 0.0}


def _plain(value: Any) -> Any:
    """A value as JSON can carry it: as it is, by its `_asdict`, or as its repr."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
    return value
