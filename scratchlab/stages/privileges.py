"""Privileges: what the kernel allows a process that it can name. Ids, capabilities, limits, and no way back."""

import errno
import re
import resource
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scratchlab import linux
from scratchlab.errors import InputError, KernelError, StageError, facts
from scratchlab.linux import Cap, CapSets, CloseRange, Prctl
from scratchlab.stages.namespaces import after_new_credentials
from scratchlab.stages.stage import inside

# What docker leaves to root in a container: enough to install packages and to serve on port 80.
DEFAULT = (
    Cap.AUDIT_WRITE, Cap.CHOWN, Cap.DAC_OVERRIDE, Cap.FOWNER, Cap.FSETID, Cap.KILL, Cap.MKNOD, Cap.NET_BIND_SERVICE,
    Cap.NET_RAW, Cap.SETFCAP, Cap.SETGID, Cap.SETPCAP, Cap.SETUID, Cap.SYS_CHROOT,
)  # fmt: skip

# What `runc spec` leaves to it: enough to serve on port 80 and to signal others. `scratchlab run` keeps no more either.
FEW = (Cap.AUDIT_WRITE, Cap.KILL, Cap.NET_BIND_SERVICE)

_AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 2, 4  # PR_CAP_AMBIENT(2const)


@inside(
    "setresuid(2)", "setgroups(2)", shell="setpriv --reuid 1000 --regid 1000 --clear-groups", engine="docker run --user 1000:1000"
)
def user(uid: int, gid: int | None = None, groups: Sequence[int] = (), keep_capabilities: bool = False) -> None:
    """Another user, for good; other than root, it has no capabilities. `gid` is `uid` if not given.  setresuid(2)

    With `keep_capabilities`, this process still has them when it is no longer root, to drop or to raise them in a later
    step. What it executes gets none either way.
    """
    gid = uid if gid is None else gid
    if min(uid, gid, *groups) < 0:
        raise InputError(f"no such id: user {uid}, group {gid}, groups {list(groups)}", "ids count from 0")
    # The user last: it takes away CAP_SETGID, which the two others need.
    _replace_groups(groups)
    linux.setresgid(gid, gid, gid)
    if keep_capabilities:
        linux.prctl(Prctl.SET_KEEPCAPS, 1)
    linux.setresuid(uid, uid, uid)
    if keep_capabilities:
        linux.prctl(Prctl.SET_KEEPCAPS, 0)
        _wake_capabilities()
    after_new_credentials()


def _wake_capabilities() -> None:
    """What is kept is only permitted at first; from there it may be made effective again."""
    now = linux.capget()
    linux.capset(now._replace(effective=now.permitted))


def _replace_groups(groups: Sequence[int]) -> None:
    try:
        linux.setgroups(groups)
    except KernelError as error:
        # Where an ordinary user made the namespace, groups are kept: the kernel lets nobody drop them.  user_namespaces(7)
        if error.errno != errno.EPERM or groups or not _groups_are_kept():
            raise


def _groups_are_kept() -> bool:
    return facts.text("/proc/self/setgroups") == "deny"


@inside(
    "capabilities(7)",
    "capset(2)",
    shell="capsh --drop=cap_sys_admin,… -- -c COMMAND",
    engine="docker run --cap-drop ALL --cap-add NET_BIND_SERVICE",
)
def capabilities(keep: Iterable[Cap | int | str] = DEFAULT) -> None:
    """Root's power in pieces, of which only these are left, now and after any execve(2).  capabilities(7)"""
    kept = linux.mask(capability_set(keep))
    # The bounding set first: to drop from it takes CAP_SETPCAP, which may be gone a few lines below. It is what root gets
    # back by executing a program, so the other sets alone would be dropped in vain.
    _drop_bounding(kept)
    linux.prctl(Prctl.CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    # Nobody can add to what is permitted. Nothing is inheritable: a file's own inheritable set must not bring it back.
    left = linux.capget().permitted & kept
    linux.capset(CapSets(effective=left, permitted=left, inheritable=0))


def _drop_bounding(kept: int) -> None:
    unwanted = [number for number in range(64) if not kept & (1 << number)]
    try:
        for number in unwanted:
            linux.prctl(Prctl.CAPBSET_DROP, Cap(number) if number <= max(Cap) else number)
    except KernelError as error:
        if error.errno != errno.EINVAL:  # which says: this kernel has no capability of that number, nor of a higher one
            raise


def capability(word: Cap | int | str) -> Cap:
    """A capability by number or by name, `CAP_NET_RAW` or `net_raw`. Raises InputError."""
    try:
        return Cap[word.upper().removeprefix("CAP_")] if isinstance(word, str) else Cap(word)
    except (KeyError, ValueError):
        raise InputError(f"{word!r} is not a capability", f"there are {', '.join(Cap.__members__)}") from None


def capability_set(words: Iterable[Cap | int | str]) -> set[Cap]:
    """Capabilities by number or name, or a single one by name. Raises InputError."""
    return {capability(each) for each in ([words] if isinstance(words, str) else words)}


@inside(
    "PR_CAP_AMBIENT(2const)",
    "capabilities(7)",
    shell="setpriv --inh-caps +net_bind_service --ambient-caps +net_bind_service COMMAND",
    engine="podman run --user 1000 --cap-add NET_BIND_SERVICE",
)
def ambient(names: Iterable[Cap | int | str]) -> None:
    """Capabilities that also programs have which an ordinary user executes.  capabilities(7)

    Without them, only root gets any by execve(2). They are lost where a setuid program is executed.
    """
    raised = sorted(capability_set(names))
    now = linux.capget()
    if absent := [cap.name for cap in raised if not now.permitted & linux.mask([cap])]:
        raise StageError(
            f"{', '.join(absent)} is not permitted to this process, so it cannot be handed on",
            "keep it: user(…, keep_capabilities=True), and capabilities([…]) with its name",
        )
    linux.capset(now._replace(inheritable=now.inheritable | linux.mask(raised)))
    for cap in raised:
        linux.prctl(Prctl.CAP_AMBIENT, _AMBIENT_RAISE, cap)


@inside("PR_SET_NO_NEW_PRIVS(2const)", shell="setpriv --no-new-privs", engine="docker run --security-opt no-new-privileges")
def no_new_privs() -> None:
    """A promise that the kernel keeps: no program that this process executes gains anything.  prctl(2)"""
    linux.prctl(Prctl.SET_NO_NEW_PRIVS, 1)


@inside("setrlimit(2)", shell="prlimit --nofile=1024:1024 COMMAND", engine="docker run --ulimit nofile=1024:1024")
def rlimits(**limits: int | Sequence[int]) -> None:
    """Limits for each process, by getrlimit(2)'s names: NOFILE=1024, or soft and hard, NPROC=(64, 128).  setrlimit(2)"""
    checked = [_limit(name, value) for name, value in limits.items()]  # all, before any is set
    for which, soft, hard in checked:
        linux.setrlimit(which, soft, hard)


def _limit(name: str, value: int | Sequence[int]) -> tuple[str, int, int]:
    which = "RLIMIT_" + name.upper().removeprefix("RLIMIT_")
    if not hasattr(resource, which):
        known = ", ".join(word.removeprefix("RLIMIT_") for word in sorted(vars(resource)) if word.startswith("RLIMIT_"))
        raise InputError(f"there is no limit on {name}", f"there are {known}")
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or min(pair) < resource.RLIM_INFINITY:
        raise InputError(f"{name}={value!r} is not a limit", "give one number, or a soft and a hard one; -1 is no limit")
    soft, hard = pair
    if hard != resource.RLIM_INFINITY and not 0 <= soft <= hard:
        raise InputError(f"{name}={value!r}: the soft limit is above the hard one", "give the soft one first")
    return which, soft, hard


@inside("close_range(2)", shell="COMMAND 3<&- 4<&- 5<&-", engine="always, by docker run")
def close_fds(first: int = 3) -> None:
    """Programs that inherit no open file: a directory left open is a way back to the host.  close_range(2)

    Files from number `first` on are closed by the next execve(2), not at once: this process may still need its own.
    """
    linux.close_range(first, (1 << 32) - 1, CloseRange.CLOEXEC)


# -- names ------------------------------------------------------------------------------------------------------------


class Identity(NamedTuple):
    """Who to be: the arguments of `user`."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def parse_user(text: str, passwd: str, group: str) -> Identity:
    """`name|uid[:group|gid]` by the text of a root filesystem's passwd(5) and group(5). Raises InputError.

    The groups are those of the user in group(5), unless a group is asked for.
    """
    name, colon, group_name = text.partition(":")
    users, groups = _lines(passwd, 4), _lines(group, 3)
    # By name first: a name may be made of digits.
    found = next((line for field in (0, 2) for line in users if line[field] == name), None)
    if found is None and not _is_id(name):
        raise InputError(f"--user {text}: the root filesystem has no user {name!r}", "give a number, or see its /etc/passwd")
    uid = int(found[2] if found else name)
    if colon:
        return Identity(uid, _group(text, group_name, groups), ())
    if found is None:
        return Identity(uid, uid, ())
    return Identity(uid, int(found[3]), tuple(int(line[2]) for line in groups if found[0] in ",".join(line[3:]).split(",")))


def _group(text: str, name: str, groups: list[list[str]]) -> int:
    found = next((line for line in groups if line[0] == name), None)
    if found is None and not _is_id(name):
        raise InputError(f"--user {text}: the root filesystem has no group {name!r}", "give a number, or see its /etc/group")
    return int(found[2] if found else name)


def _is_id(text: str) -> bool:
    return bool(re.fullmatch("[0-9]{1,10}", text)) and int(text) < (1 << 32) - 1  # the last number means "unchanged"


def _lines(text: str, least: int) -> list[list[str]]:
    """The fields of each line that has its ids where they belong; others may be comments, or wrong."""
    split = [line.split(":") for line in text.splitlines()]
    return [fields for fields in split if len(fields) >= least and all(_is_id(field) for field in fields[2:least])]
