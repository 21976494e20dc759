"""Seccomp profiles in the JSON format of the OCI runtime specification, with docker's and podman's additions.

    {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
     "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                  {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_CHROOT"]}}]}

What is different from the engines: the machine's second table of system calls is closed, whatever "architectures" and
"archMap" say, because rules by name do not protect it as a reader would think.
"""

import difflib
import errno as errno_names
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from scratchlab.errors import InputError
from scratchlab.linux.bpf import ALLOW, Action, Compare, Condition, Filter, Rule, Verdict

T = TypeVar("T")

REFUSED = Action(Verdict.ERRNO, errno_names.EPERM)
NO_SUCH_CALL = Action(Verdict.ERRNO, errno_names.ENOSYS)  # libraries then try an older call
DEFAULT = os.path.join(os.path.dirname(__file__), "seccomp.json")

ACTIONS = {
    "SCMP_ACT_ALLOW": Verdict.ALLOW,
    "SCMP_ACT_ERRNO": Verdict.ERRNO,
    "SCMP_ACT_KILL": Verdict.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": Verdict.KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": Verdict.KILL_THREAD,
    "SCMP_ACT_LOG": Verdict.LOG,
    "SCMP_ACT_TRAP": Verdict.TRAP,
}
NEED_A_SUPERVISOR = ("SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE")
ENGINES_ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}  # Go's names, in "includes" and "excludes"
COMPARES = {f"SCMP_CMP_{compare.name}": compare for compare in Compare}


class Facts(NamedTuple):
    """What the rules of a profile may depend on."""

    machine: str  # as uname(2) says it
    kernel: tuple[int, int]
    has: Callable[[str], bool]  # whether the process keeps a capability, CAP_NET_RAW

    @classmethod
    def here(cls, has: Callable[[str], bool]) -> "Facts":
        """Those of this machine."""
        major, minor = re.findall(r"\d+", os.uname().release)[:2]
        return cls(os.uname().machine, (int(major), int(minor)), has)


# -- profiles ---------------------------------------------------------------------------------------------------------


def read_profile(path: str) -> dict[str, Any]:
    """The JSON document in a file. Raises InputError."""
    try:
        with open(path, "rb") as file:
            document = json.load(file)
    except OSError as error:
        hint = "give a file in the JSON format of the engines, or a list of names: seccomp(['mkdir'])"
        raise InputError(f"seccomp profile {path}: {error.strerror}", hint) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"seccomp profile {path} is not JSON: {error}", "compare with the engines' own profiles") from None
    return _is(document, dict, f"seccomp profile {path}")


def parse_profile(document: Any, facts: Facts) -> Filter:
    """A profile as rules by name, for this machine, kernel and set of capabilities. Raises InputError.

    As in libseccomp, a rule without conditions outweighs those that have some, and of several the first counts; and as
    in runc, a rule that says what the default says anyway outweighs nothing.
    """
    _is(document, dict, "a seccomp profile")
    otherwise = _action(document, "defaultAction", "defaultErrnoRet", "defaultErrno", "the profile")
    rules: dict[str, list[Rule]] = {}
    for number, entry in enumerate(_list(document, "syscalls", "the profile")):
        where = f"syscalls[{number}]"
        _is(entry, dict, where)
        action = _action(entry, "action", "errnoRet", "errno", where)
        names, made = _names(entry, where), _rules(entry, action, where)
        for name in names if _applies(entry, facts, where) else []:
            rules.setdefault(name, []).extend(made)
    return Filter({name: _weighed(found, otherwise) for name, found in rules.items()}, otherwise, NO_SUCH_CALL)


def refuse(names: Sequence[str], known: Iterable[str]) -> Filter:
    """Everything is allowed but these calls. Raises InputError for a name that is not in `known`."""
    known = set(known)
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise InputError(f"there is no system call {name!r} on this machine", _near(str(name), known))
    return Filter({name: [Rule((), REFUSED)] for name in names}, ALLOW, NO_SUCH_CALL)


def _near(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, 3, 0.6)
    return f"perhaps {' or '.join(close)}" if close else "names are those of syscalls(2)"


def _weighed(rules: list[Rule], otherwise: Action) -> list[Rule]:
    different = [rule for rule in rules if rule.action != otherwise]
    always = [rule for rule in different if not rule.conditions]
    # What says the default explicitly comes last, where it changes nothing; but a reader of the filter can tell it is meant.
    meant = [rule for rule in rules if rule.action == otherwise and not rule.conditions]
    return always[:1] or [*different, *meant[:1]]


# -- parts of an entry ------------------------------------------------------------------------------------------------


def _action(entry: Mapping[str, Any], key: str, number: str, name: str, where: str) -> Action:
    word = _is(entry.get(key), str, f'"{key}" of {where}')
    if word in NEED_A_SUPERVISOR:
        raise InputError(f"{where}: {word} asks a second process what to do, and Scratchlab has none", "use SCMP_ACT_ERRNO")
    if word not in ACTIONS:
        raise InputError(f"{where}: no such action: {word!r}", f"there are {', '.join(ACTIONS)}")
    if ACTIONS[word] is not Verdict.ERRNO:
        return Action(ACTIONS[word])
    return Action(Verdict.ERRNO, _errno(entry.get(number), entry.get(name), where))


def _errno(number: Any, name: Any, where: str) -> int:
    """The errno of a refusal: by number, or as podman also writes it, by name; EPERM if nothing is said."""
    if number is None and name is not None:
        number = getattr(errno_names, name, None) if isinstance(name, str) and name.startswith("E") else name
    if number is None:
        return REFUSED.errno
    return _number(number, 4095, f"the errno of {where}")  # MAX_ERRNO of the kernel


def _names(entry: Mapping[str, Any], where: str) -> list[str]:
    """Docker's first format had one "name" in each entry."""
    names = _list(entry, "names", where) or [entry.get("name")]
    return [_is(name, str, f"a name in {where}") for name in names]


def _rules(entry: Mapping[str, Any], action: Action, where: str) -> list[Rule]:
    """One rule whose conditions must all hold; but two conditions on one argument are two rules, of which one must fit."""
    conditions = [_condition(each, where) for each in _list(entry, "args", where)]
    if len({condition.argument for condition in conditions}) == len(conditions):
        return [Rule(tuple(conditions), action)]
    return [Rule((condition,), action) for condition in conditions]  # as runc does, and with it all engines


def _condition(data: Any, where: str) -> Condition:
    _is(data, dict, f"a condition in {where}")
    argument = _number(data.get("index"), 5, f'"index" in {where}')
    word = _is(data.get("op"), str, f'"op" in {where}')
    if word not in COMPARES:
        raise InputError(f"{where}: no such comparison: {word!r}", f"there are {', '.join(COMPARES)}")
    value = _number(data.get("value", 0), (1 << 64) - 1, f'"value" in {where}')
    second = _number(data.get("valueTwo") or 0, (1 << 64) - 1, f'"valueTwo" in {where}')
    if COMPARES[word] is Compare.MASKED_EQ:  # value is the mask, and valueTwo what must be left
        return Condition(argument, Compare.MASKED_EQ, second, value)
    return Condition(argument, COMPARES[word], value)


def _applies(entry: Mapping[str, Any], facts: Facts, where: str) -> bool:
    """Docker's additions: rules for some machines, kernels and capabilities only."""
    arch = ENGINES_ARCHES.get(facts.machine, facts.machine)
    included, excluded = (_selection(entry, key, f'"{key}" of {where}') for key in ("includes", "excludes"))
    if arch not in (included.arches or [arch]) or arch in excluded.arches:
        return False
    if facts.kernel < (included.kernel or (0, 0)) or (excluded.kernel and facts.kernel >= excluded.kernel):
        return False
    return all(map(facts.has, included.capabilities)) and not any(map(facts.has, excluded.capabilities))


class _Selection(NamedTuple):
    arches: list[str]
    capabilities: list[str]
    kernel: tuple[int, int] | None


def _selection(entry: Mapping[str, Any], key: str, where: str) -> _Selection:
    data = _is(entry.get(key) or {}, dict, where)
    arches, capabilities = ([_is(word, str, where) for word in _list(data, name, where)] for name in ("arches", "caps"))
    kernel = data.get("minKernel")
    return _Selection(arches, capabilities, _version(_is(kernel, str, where), where) if kernel else None)


def _version(text: str, where: str) -> tuple[int, int]:
    words = text.partition("-")[0].split(".")
    if len(words) < 2 or not all(word.isascii() and word.isdigit() and len(word) < 9 for word in words[:2]):
        raise InputError(f"{where}: {text!r} is not a version of the kernel", 'write it as "5.10"')
    return int(words[0]), int(words[1])


# -- what JSON may hold -----------------------------------------------------------------------------------------------


def _is(value: Any, kind: type[T], what: str) -> T:
    if not isinstance(value, kind):
        words: dict[type, str] = {dict: "an object", list: "a list", str: "text"}
        raise InputError(f"{what} is {words[kind]} in JSON, not {_shown(value)}", _SEE)
    return value


def _list(data: Mapping[str, Any], key: str, where: str) -> list[Any]:
    return _is(data.get(key) or [], list, f'"{key}" of {where}')


def _number(value: Any, most: int, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise InputError(f"{what} is a number from 0 to {most}, not {_shown(value)}", _SEE)
    return value


_SEE = "the format is that of `linux.seccomp` in the OCI runtime specification"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
