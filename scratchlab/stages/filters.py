"""Seccomp: which system calls a process may make at all, whatever else it may.  seccomp(2)"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scratchlab import linux
from scratchlab.errors import InputError
from scratchlab.linux import Cap, SeccompFlag, SeccompOp, bpf
from scratchlab.linux.bpf import Action, Filter, Program, Rule, Verdict
from scratchlab.linux.numbers import here
from scratchlab.stages.privileges import capability, capability_set
from scratchlab.stages.profiles import DEFAULT, NO_SUCH_CALL, Facts, parse_profile, read_profile, refuse
from scratchlab.stages.stage import inside

MODES = ("errno", "kill", "log")

Profile = Mapping[str, Any] | Sequence[str] | str | None

OURS = read_profile(DEFAULT)  # now: after `pivot` the file is gone


@inside(
    "seccomp(2)",
    "prctl(2)",
    shell="systemd-run --pty --property SystemCallFilter=~mount COMMAND",
    engine="docker run --security-opt seccomp=FILE",
)
def seccomp(profile: Profile = None, mode: str = "errno", capabilities: Iterable[Cap | int | str] | None = None) -> None:
    """System calls that the kernel refuses, for good; the machine's second table of calls is closed too.  seccomp(2)

    `profile` is a list of calls to refuse, or a profile of the container engines (a dict, or the path of a JSON file), or
    nothing: then it is our own, which is stricter than theirs. What it refuses fails with an errno; or, by `mode`, the
    kernel kills the caller ("kill"), or lets the call pass and writes it to its log ("log": see `dmesg`, or
    `ausearch -m SECCOMP`). A profile can allow more where a process keeps `capabilities`: if not given, those that it has.

    Without no_new_privs it takes CAP_SYS_ADMIN: a setuid program must not be made to run with calls that fail.
    """
    linux.seccomp(SeccompOp.SET_MODE_FILTER, SeccompFlag(0), filter_of(profile, mode, capabilities))


def filter_of(profile: Profile = None, mode: str = "errno", capabilities: Iterable[Cap | int | str] | None = None) -> Program:
    """The program that `seccomp` would install; `bpf.listing` shows it in words. Raises InputError."""
    if mode not in MODES:
        raise InputError(f"no such mode: {mode!r}", f"choose one of {', '.join(MODES)}")
    kept = _permitted() if capabilities is None else capability_set(capabilities)
    if profile is None:
        return _default(mode, frozenset(kept & _ASKED))
    facts = Facts.here(lambda name: _known(name) in kept)
    if isinstance(profile, str):
        profile = read_profile(profile)
    if not isinstance(profile, Mapping | Sequence):
        raise InputError(f"{profile!r} is no seccomp profile", "give a dict, a path, or a list of calls to refuse: ['mkdir']")
    wanted = parse_profile(profile, facts) if isinstance(profile, Mapping) else refuse(profile, here())
    return _program(wanted, mode, facts.machine)


@functools.cache  # 1 ms: the keeper does it once, and the agents that it forks know it already
def _default(mode: str, kept: frozenset[Cap]) -> Program:
    facts = Facts.here(lambda name: _known(name) in kept)
    return _program(parse_profile(OURS, facts), mode, facts.machine)


def _program(wanted: Filter, mode: str, machine: str) -> Program:
    made = bpf.program(_in_mode(wanted, mode), machine)
    if len(made) > bpf.MOST_INSTRUCTIONS:
        raise InputError(f"this profile makes {len(made)} instructions, and the kernel takes {bpf.MOST_INSTRUCTIONS}", "say less")
    return made


# -- modes ------------------------------------------------------------------------------------------------------------


def _in_mode(wanted: Filter, mode: str) -> Filter:
    """The same filter with other refusals."""
    if mode == "errno":
        return wanted
    refusal = Action(Verdict.LOG if mode == "log" else Verdict.KILL_PROCESS)
    rules = {
        name: [Rule(each.conditions, _instead(each.action, refusal)) for each in found] for name, found in wanted.rules.items()
    }
    otherwise = refusal if wanted.otherwise == NO_SUCH_CALL else _instead(wanted.otherwise, refusal)
    return Filter(rules, otherwise, refusal)


def _instead(action: Action, refusal: Action) -> Action:
    if action.verdict in (Verdict.ALLOW, Verdict.LOG):
        return action
    # A call that a rule says is not implemented stays so: a library tries it first, and then an older one.
    return action if action == NO_SUCH_CALL and refusal.verdict is Verdict.KILL_PROCESS else refusal


# -- capabilities -----------------------------------------------------------------------------------------------------


def _permitted() -> set[Cap]:
    permitted = linux.capget().permitted
    return {cap for cap in Cap if permitted & 1 << cap}


def _known(name: str) -> Cap | None:
    """A profile may ask about capabilities that are newer than we are; then nobody has them."""
    return Cap.__members__.get(name.upper().removeprefix("CAP_"))


# What our own profile asks about: its filter is the same for all that agree in these.
_ASKED = {
    capability(name)
    for entry in OURS["syscalls"]
    for key in ("includes", "excludes")
    for name in entry.get(key, {}).get("caps", ())
}
