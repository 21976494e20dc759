"""What the processes of a container may do, in the words of the engines: --cap-add, --cap-drop, --security-opt."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from scratchlab.errors import InputError
from scratchlab.linux import Cap
from scratchlab.stages import Step, filters, labels, privileges, step
from scratchlab.stages.privileges import Identity
from scratchlab.stages.profiles import read_profile

# What container-selinux gives to a container; --security-opt label=… replaces parts of it.
SELINUX = {"user": "system_u", "role": "system_r", "type": "container_t", "level": "s0"}


class ProfileFile(dict[str, Any]):
    """A profile that was read on the host, before its file is out of sight; shown as the path."""

    def __init__(self, path: str) -> None:
        super().__init__(read_profile(path))
        self.path = path

    def __repr__(self) -> str:
        return repr(self.path)


class Options(NamedTuple):
    """What --security-opt asks for."""

    no_new_privileges: bool = True
    filtered: bool = True
    profile: ProfileFile | None = None  # ours, if there is none
    mode: str = "errno"  # one of filters.MODES
    apparmor: str = ""
    label: str = ""


def steps(
    identity: Identity | None, cap_add: Sequence[str] = (), cap_drop: Sequence[str] = (), security_opt: Sequence[str] = ()
) -> list[Step]:
    """The steps that take power away, in order; `identity` is who to be instead of root. Raises InputError."""
    kept = kept_capabilities(cap_add, cap_drop)
    options = parse_options(security_opt)
    become = [step(privileges.user, *identity, keep_capabilities=True)] if identity else []
    # Only root gets capabilities by executing a program. What was asked for by name shall reach other users too.
    named = [cap for cap in kept if identity and identity.uid and cap in _names(cap_add)]
    power = [
        *become,  # before the capabilities go: it takes two of them
        step(privileges.capabilities, kept),
        *([step(privileges.ambient, named)] if named else []),
    ]
    labelled = [
        *([step(labels.selinux_label, options.label)] if options.label else []),
        *([step(labels.apparmor_profile, options.apparmor)] if options.apparmor else []),
    ]
    first = step(privileges.close_fds)
    if options.no_new_privileges:
        # The filter last: it would refuse some of the rest.
        return [first, *power, *labelled, step(privileges.no_new_privs), *_filter(options)]
    # Without that promise a filter takes CAP_SYS_ADMIN, so it comes before the capabilities go, and knows by name what stays.
    return [first, *labelled, *_filter(options, capabilities=kept), *power]


def _filter(options: Options, **more: Any) -> list[Step]:
    profile = [] if options.profile is None else [options.profile]
    mode = {} if options.mode == "errno" else {"mode": options.mode}
    return [step(filters.seccomp, *profile, **mode, **more)] if options.filtered else []


# -- capabilities -----------------------------------------------------------------------------------------------------

GROUPS = {"ALL": tuple(Cap), "DEFAULT": privileges.DEFAULT}  # DEFAULT: what docker and podman leave, 14 of them


def kept_capabilities(cap_add: Iterable[str] = (), cap_drop: Iterable[str] = ()) -> list[str]:
    """The names of those that a container keeps: a few, and those added, without those dropped. Raises InputError.

    "ALL" among the dropped only means the few, as in the engines: then exactly the added ones are kept.
    """
    dropped = {name.upper() for name in cap_drop}
    base = set() if "ALL" in dropped else set(privileges.FEW)
    kept = (base | _capabilities(cap_add)) - _capabilities(dropped - {"ALL"})
    return [cap.name for cap in sorted(kept)]


def _capabilities(names: Iterable[str]) -> set[Cap]:
    return {cap for name in names for cap in GROUPS.get(name.upper()) or (privileges.capability(name),)}


def _names(names: Iterable[str]) -> set[str]:
    """Those that are meant one by one."""
    return {cap.name for cap in _capabilities(name for name in names if name.upper() not in GROUPS)}


# -- options ----------------------------------------------------------------------------------------------------------


def parse_options(texts: Iterable[str]) -> Options:
    """`--security-opt` as docker has it: NAME=VALUE, or NAME:VALUE. Raises InputError."""
    options = Options()
    for text in texts:
        name, value = _split(text)
        if name == "no-new-privileges" and value in ("", "true", "false"):
            options = options._replace(no_new_privileges=value != "false")
        elif name == "seccomp" and value:
            options = _seccomp(options, value)
        elif name == "apparmor" and value:
            options = options._replace(apparmor="" if value == "unconfined" else value)
        elif name == "label" and value:
            options = options._replace(label=_label(options.label, value))
        else:
            raise InputError(
                f"--security-opt {text}: no such option",
                "there are seccomp=FILE|unconfined|kill|log, no-new-privileges[=false], apparmor=PROFILE, label=type:TYPE",
            )
    return options


def _split(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=" if "=" in text else ":")
    return name, value


def _seccomp(options: Options, value: str) -> Options:
    """The engines' words, and two of ours: "kill" and "log" say what becomes of a refused call."""
    if value == "unconfined":
        return options._replace(filtered=False)
    if value in filters.MODES:
        return options._replace(filtered=True, mode=value)
    return options._replace(filtered=True, profile=None if value == "builtin" else ProfileFile(value))


def _label(label: str, value: str) -> str:
    """A SELinux context with one part replaced, as `label=type:TYPE`; none at all for `label=disable`."""
    if value == "disable":
        return ""
    part, _, word = value.partition(":")
    if part not in SELINUX or not word:
        raise InputError(f"--security-opt label={value}: no such part", f"one of {', '.join(SELINUX)}, as in label=type:TYPE")
    parts = dict(zip(SELINUX, label.split(":", 3), strict=True)) if label else SELINUX
    return ":".join({**parts, part: word}.values())
