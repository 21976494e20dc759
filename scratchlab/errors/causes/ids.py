"""Users, groups, and the maps of a user namespace; what the sets of capabilities allow.  user_namespaces(7)"""

import os
import resource

from scratchlab.errors import facts
from scratchlab.errors.cause import Asked, Cause
from scratchlab.errors.causes.privilege import missing

_PAGE = "user_namespaces(7)"


def not_mapped(asked: Asked) -> Cause | None:
    """An id that means nothing in this user namespace."""
    kind = "uid" if asked.call == "setresuid" else "gid"
    return Cause(
        f"this id has no meaning in this user namespace, whose {kind}_map is: {facts.id_map(kind) or 'not written yet'}. "
        "Map it first, with map_ids",
        f"cat /proc/self/{kind}_map",
        _PAGE,
    )


def groups_are_kept(_asked: Asked) -> Cause | None:
    """setgroups is denied for good in a namespace whose maker could not drop groups."""
    if facts.text("/proc/self/setgroups") == "deny":
        return Cause(
            "who made this user namespace could not drop groups, so nobody in it can: setgroups says deny",
            "cat /proc/self/setgroups",
            _PAGE,
        )
    if os.path.exists("/proc/self/gid_map") and not facts.text("/proc/self/gid_map"):
        return Cause("this user namespace has no gid_map yet: map_ids first", "cat /proc/self/gid_map", _PAGE)
    return None


# -- uid_map and gid_map ----------------------------------------------------------------------------------------------


def map_refused(asked: Asked) -> Cause | None:
    """EPERM from writing a map."""
    file = asked.text("file")
    if not file.endswith("_map"):
        return None
    if written := " ".join(facts.text(file).split()):
        return Cause(f"a map can be written once, and this one says {written!r} already", f"cat {file}", _PAGE)
    own, rows = _own_id(file), [line.split() for line in asked.text("text").strip().splitlines()]
    if file.endswith("gid_map") and facts.text(f"{os.path.dirname(file)}/setgroups") == "allow" and not _may_set_ids("gid"):
        return Cause(
            "without CAP_SETGID, setgroups must be denied before the gid_map is written",
            f"cat {os.path.dirname(file)}/setgroups",
            _PAGE,
        )
    if not _may_set_ids("uid" if file.endswith("uid_map") else "gid") and [row[1:] for row in rows] != [[str(own), "1"]]:
        return Cause(
            f"without CAP_SET{'UID' if file.endswith('uid_map') else 'GID'} in the namespace above, a map may hold one line, for "
            f"the own id: '0 {own} 1'. A range takes newuidmap and /etc/subuid",
            "grep $USER /etc/subuid /etc/subgid",
            _PAGE,
        )
    if file.endswith("uid_map") and "0" in [row[1] for row in rows] and not facts.has_capability("CAP_SETFCAP"):
        # Since Linux 5.12: in there, its root could give files capabilities that count out here.
        return Cause("to map the root of the namespace above, CAP_SETFCAP is needed", "grep CapEff /proc/self/status", _PAGE)
    above = facts.id_map("uid" if file.endswith("uid_map") else "gid")
    return Cause(
        f"the ids on the right must all have a meaning in the namespace above, whose map is: {above}", f"cat {file}", _PAGE
    )


def _own_id(file: str) -> int:
    return os.geteuid() if file.endswith("uid_map") else os.getegid()


def _may_set_ids(kind: str) -> bool:
    return facts.has_capability(f"CAP_SET{kind.upper()}") and facts.in_initial_user_namespace()


def map_malformed(asked: Asked) -> Cause | None:
    """EINVAL from writing a map."""
    file = asked.text("file")
    if not file.endswith("_map"):
        return None
    return Cause(
        f"{asked.text('text').strip()!r} is no map: lines of three numbers, first inside, first outside, count; not 0 of them, "
        "and no two ranges that overlap",
        f"cat {file}",
        _PAGE,
    )


# -- capabilities and limits ------------------------------------------------------------------------------------------


def capset_refused(asked: Asked) -> Cause | None:
    """A process can give up what it has, and never get more."""
    permitted = int(facts.status("CapPrm") or "0", 16)
    for name in ("effective", "permitted"):
        wanted = asked.number(name)
        if beyond := wanted & ~permitted:
            return Cause(f"{name} asks for {beyond:#x}, which is not permitted here", f"capsh --decode={beyond:x}", "capset(2)")
    return Cause("inheritable asks for more than is permitted or in the bounding set", "grep Cap /proc/self/status", "capset(2)")


def prctl_refused(asked: Asked) -> Cause | None:
    """EPERM from the operations that privileges stages use."""
    if asked.text("op") == "CAPBSET_DROP":
        said = missing("CAP_SETPCAP", "CAP_SETPCAP")
        return Cause(f"{said.why}. Apply capabilities before user, which gives it up", "grep CapEff /proc/self/status")
    if asked.text("op") == "CAP_AMBIENT":
        return Cause(
            "only what is both permitted and inheritable can become ambient",
            "grep Cap /proc/self/status",
            "PR_CAP_AMBIENT(2const)",
        )
    return None


def prctl_unknown(asked: Asked) -> Cause | None:
    """EINVAL from prctl."""
    if asked.text("op") == "CAPBSET_DROP":
        last = facts.sysctl("kernel.cap_last_cap")
        return Cause(f"this kernel has no capability {asked.text('arg2')}: the last is {last}", "sysctl kernel.cap_last_cap")
    if asked.text("op") == "SET_NO_NEW_PRIVS":
        return Cause("no_new_privs can be set to 1, and never back to 0", "grep NoNewPrivs /proc/self/status", "prctl(2)")
    return Cause(f"this kernel knows no operation {asked.text('op')} with these arguments", "uname -r", "prctl(2)")


def owner_not_mapped(_asked: Asked) -> Cause | None:
    """EOVERFLOW of making a file: its owner has no number in the filesystem's user namespace."""
    return Cause(
        f"a new file would belong to user {os.geteuid()}, who has no number in this user namespace: map_ids first",
        "cat /proc/self/uid_map",
        "user_namespaces(7)",
    )


def promise_is_missing(asked: Asked) -> Cause | None:
    """A filter of one's own needs no_new_privs, or it could trick a program that gains rights."""
    if facts.status("NoNewPrivs") == "1" or facts.has_capability("CAP_SYS_ADMIN"):
        return None
    return Cause(
        "without CAP_SYS_ADMIN, a process must promise no_new_privs before it restricts itself: apply no_new_privs first",
        "grep NoNewPrivs /proc/self/status",
        f"{asked.call}(2)",
    )


def limit_raised(asked: Asked) -> Cause | None:
    """A hard limit can be lowered by all, and raised by few."""
    name = asked.text("resource")
    most = facts.sysctl("fs.nr_open")
    if name == "RLIMIT_NOFILE" and most and not 0 <= asked.number("hard") <= int(most):
        return Cause(f"no process may have more files open than fs.nr_open says: {most}", "sysctl fs.nr_open", "getrlimit(2)")
    _, hard = resource.getrlimit(getattr(resource, name))
    said = missing("CAP_SYS_RESOURCE", "CAP_SYS_RESOURCE")
    return Cause(f"the hard limit is {hard}, and to raise it takes a capability. {said.why}", said.check, "getrlimit(2)")


def limit_upside_down(asked: Asked) -> Cause | None:
    """EINVAL from setrlimit."""
    return Cause(
        f"the soft limit {asked.text('soft')} is above the hard limit {asked.text('hard')}",
        "ulimit -a; ulimit -Ha",
        "getrlimit(2)",
    )


def too_long_a_name(asked: Asked) -> Cause | None:
    """A hostname that does not fit."""
    return Cause(f"the name has {asked.text('len')} bytes, and the kernel takes at most 64", "uname -n", "sethostname(2)")
