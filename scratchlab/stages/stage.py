"""What a stage is: a plain function with one decorator that says on which side it runs.

*Inside* stages run in the process being isolated. *Outside* stages are done to it by the host, and get a `Target` first.
Both can be called directly too: then they work on the calling process itself, unless that would do harm.
"""

import functools
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from scratchlab.errors import StageError
from scratchlab.journal import Journal, named
from scratchlab.linux.flags import NAMESPACES
from scratchlab.linux.ledger import look
from scratchlab.stages.arguments import check_arguments

P = ParamSpec("P")
R = TypeVar("R")


class About(NamedTuple):
    """What a stage carries besides its code: the same step in other notations, and what it needs."""

    side: str  # "inside" or "outside"
    man: tuple[str, ...]  # manual pages, "hostname(7)"
    shell: str  # the step as a shell user would type it
    engine: str  # the step as an option of docker or podman
    needs: tuple[str, ...] = ()  # kinds of namespaces that must not be the host's any more: "uts", "mnt" …
    prove: str = ""  # what loads the limit that this stage sets, as module:function, imported when it is wanted


class Target:
    """The process that an outside stage works on, and where the host writes what it does for it."""

    def __init__(self, pid: int, journal: Journal) -> None:
        self.pid = pid  # as the host numbers it
        self.journal = journal
        self.facts: dict[str, Any] = {}  # what one outside stage leaves for a later one, by stage name

    @property
    def name(self) -> str:
        """The sandbox's name, unique on this machine: names its control groups, nft table and links."""
        return self.journal.name


class Step(NamedTuple):
    """A stage with its arguments, as it is applied."""

    stage: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The stage's name."""
        return str(getattr(self.stage, "__name__", self.stage))

    def __repr__(self) -> str:
        words = [repr(arg) for arg in self.args] + [f"{key}={value!r}" for key, value in self.kwargs.items()]
        return f"{self.name}({', '.join(words)})"


def step(stage: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Step:
    """A step: `step(hostname, "web")`, as `apply(hostname, "web")` would do it."""
    return Step(stage, args, kwargs)


STAGES: dict[str, Callable[..., Any]] = {}  # every stage of ours, by name


def inside(*man: str, shell: str, engine: str, needs: tuple[str, ...] = ()) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function as a stage that runs in the process being isolated."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def directly(*args: P.args, **kwargs: P.kwargs) -> R:
            if not _serving:
                check_step(Step(directly, args, kwargs))
                own_process(function.__name__).before(directly)
            return function(*args, **kwargs)

        return _register(directly, About("inside", man, shell, engine, needs))

    return decorate


def outside(
    *man: str, shell: str, engine: str, needs: tuple[str, ...] = (), prove: str = ""
) -> Callable[[Callable[Concatenate[Target, P], R]], Callable[..., R]]:
    """Mark a function as a stage that the host does to a process; its first parameter is the Target."""

    def decorate(function: Callable[Concatenate[Target, P], R]) -> Callable[..., R]:
        @functools.wraps(function)
        def directly(*args: Any, **kwargs: Any) -> R:
            if args and isinstance(args[0], Target):
                return function(*args, **kwargs)
            check_step(Step(directly, args, kwargs))
            result: R = own_process(function.__name__).ask_host(Step(directly, args, kwargs))
            return result

        return _register(directly, About("outside", man, shell, engine, needs, prove))

    return decorate


def _register(stage: Callable[..., Any], about: About) -> Callable[..., Any]:
    stage.about = about  # type: ignore[attr-defined]
    STAGES[stage.__name__] = stage
    return stage


def check_step(step: Step) -> None:
    """Raise InputError unless a stage of ours takes these arguments."""
    # The host fills in the target of an outside stage.
    check_arguments(step.name, step.stage, step.args, step.kwargs, skip=about(step.stage).side == "outside")


def about(stage: Callable[..., Any]) -> About:
    """What a stage carries; a learner's own undecorated function is an inside stage with nothing said of it."""
    found: About = getattr(stage, "about", None) or About("inside", (), "", "")
    return found


def perform(step: Step, *first: Target) -> Any:
    """Do a step in this process, without the questions that a direct call is asked."""
    function = getattr(step.stage, "__wrapped__", step.stage)
    return function(*first, *step.args, **step.kwargs)


def proof_of(stage: Callable[..., Any], target: Target) -> Any:
    """Load the limit that a stage set. Gives the kernel's own counters, or raises StageError."""
    if not about(stage).prove:
        raise StageError(f"{stage.__name__} sets no limit that could be proven", "cpu, memory, pids and io do")
    return named(about(stage).prove)(target)


def missing(stage: Callable[..., Any], pid: int | str, host: dict[str, str]) -> list[str]:
    """Which stages must come first: those whose namespace `pid` still shares with the host."""
    return [
        f"unshare_{_STAGE_WORD.get(kind, kind)}" for kind in about(stage).needs if namespaces_of(pid, [kind])[kind] == host[kind]
    ]


_STAGE_WORD = {"mnt": "mount"}


def refuse_if_missing(stage: Callable[..., Any], pid: int | str, host: dict[str, str]) -> None:
    """Raise StageError where a stage would act on the host, because the process is not apart from it yet."""
    if first := missing(stage, pid, host):
        raise StageError(
            f"{stage.__name__} would act on the whole machine: this process shares its namespace with the host",
            f"apply {' and '.join(first)} first",
        )


def namespaces_of(pid: int | str, kinds: Iterable[str] = NAMESPACES) -> dict[str, str]:
    """The namespaces of a process as the kernel names them, `uts:[4026531838]`.  namespaces(7)"""
    return {kind: _namespace_of(pid, kind) for kind in kinds}


def _namespace_of(pid: int | str, kind: str) -> str:
    path = f"/proc/{pid}/ns/{kind}"
    return look("readlink", {"path": path}, lambda: os.readlink(path))


# -- direct calls -----------------------------------------------------------------------------------------------------

_serving = False  # True in agents: a stage that is called there, by a learner's function, just runs


def serve() -> None:
    """From here on this process is an agent: stages that are called in it are meant for it."""
    global _serving
    _serving = True


def own_process(name: str) -> Any:
    """The calling process as something to isolate. Raises StageError where that would do harm."""
    threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
    if threads > 1 or "ipykernel" in sys.modules:
        where = "a Jupyter kernel" if "ipykernel" in sys.modules else f"a process with {threads} threads"
        raise StageError(
            f"{name}() would isolate {where}, and break it: namespaces belong to single threads",
            f"apply it to a sandbox: Sandbox().apply(stages.{name}, …)",
        )
    # The one import upwards: the host's side of a process must start before the process leaves the host.
    from scratchlab.sandbox.own import OWN

    return OWN
