"""What the arguments of stages may be: for each parameter by its name, what works, what cannot, and what is in between.

Words in angle brackets stand for places and processes of the machine that a test runs on: `filled` puts them in. No path here
leads to anything outside the test's own directory that a stage could change there.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

from scratchlab.stages import STAGES, Step, about
from tests.fuzz.profile import any_text, json_values, numbers

Values = st.SearchStrategy[Any]


def mostly(good: Any, others: Values) -> Values:
    """One value that works, in three cases of four."""
    return st.sampled_from([st.just(good)] * 3 + [others]).flatmap(lambda chosen: chosen)


odd_names = st.sampled_from(["", "ü", "a" * 70, "a\0b", "\ud800", "a b", "../x", "-rf", "\n"]) | any_text
places = st.sampled_from(
    [
        "<root>",
        "<root>",
        "<empty>",
        "<tree>",
        "<tree>/file",
        "<tree>/loop",
        "<tree>/up",
        "<tree>/ü\udcff",
        "/nowhere",
        "",
        "<tree>/file/x",
    ]
) | odd_names.map(lambda name: f"<tree>/{name}")
inside = st.sampled_from(["/proc", "/sys", "/dev", "/etc", "/mnt", "/etc/passwd", "etc", "/nowhere", "/../etc", "/loop"])
targets = places | inside
roots = st.sampled_from(["", "<root>", "<root>", "<empty>", "/nowhere", "<tree>/file"])
pids = st.sampled_from(["<peer>", "<peer>", "<keeper>", 1 << 23, 0, -1])
subnets = st.sampled_from([None, None, "10.213.77.0/24", "10.213.77.0/31", "127.0.0.0/8", "::/64", "10.213.77.1/24", ""])
links = st.sampled_from(["eth0", "eth0", "lo", "eth1", "", "a" * 16, "a/b", "%d"]) | odd_names
ports = st.builds("127.0.0.1:{}:{}{}".format, st.integers(23450, 23460), st.just(80), st.sampled_from(["", "/tcp", "/udp"]))
specs = ports | st.sampled_from(["23450:80", "203.0.113.1:23450:80", "80", "0:0", "[::1]:1:1", ["127.0.0.1", 23455, 80, "udp"]])
amounts = st.sampled_from(["1M", "10MiB", 1 << 30, "0", "-1", "1e308T", "nan", "", 1 << 70]) | numbers
rates = st.sampled_from([None, None, 1 << 30, 1 << 30, "1G"]) | amounts
ids = st.sampled_from([0, 1, 1000, 65534, (1 << 32) - 1, 1 << 32, -1, 1 << 70])
caps = st.lists(st.sampled_from(["CAP_NET_RAW", "sys_admin", "SETUID", "fly", "", 0, 40, 41, 63, -1, 1 << 70]), max_size=4)
flags = st.booleans()
calls = st.lists(st.sampled_from(["mkdir", "chroot", "unshare", "mount", "read", "fly", ""]), max_size=3)
profiles = (
    st.sampled_from(
        [
            None,
            {"defaultAction": "SCMP_ACT_ALLOW"},
            {"defaultAction": "SCMP_ACT_FLY"},
            "/nowhere.json",
            "<tree>/profile.json",
            "<tree>/file",
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chroot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]},
        ]
    )
    | calls
    | json_values
)
limits = st.sampled_from([0, 64, -1, [64, 128], [128, 64], [1], 1 << 70, [-1, -1], []])

# By the name of a parameter, or where that says too little, of the stage and the parameter.
VALUES: Mapping[str, Values] = {
    "share": st.sampled_from([0.5, 1, "0.9", 0, -1, 1e-9, 1e9, "a fifth", ""]) | numbers,
    "period_us": st.sampled_from([100_000, 1000, 10, 0, -1, 1 << 40]),
    "memory.maximum": st.sampled_from(["256M", 1 << 30, "100T", "1K"]) | amounts,
    "pids.maximum": st.sampled_from([64, 512, 3, 0, -5, 1 << 40, 1.5]) | numbers,
    "device": st.sampled_from(["<disk>", "<disk>", "<disk>", "/dev/null", "/nowhere", "999:999", "", "7:x", "\0"]),
    "read_bps": rates,
    "write_bps": rates,
    "read_iops": rates,
    "write_iops": rates,
    "pid": pids,
    "join.kinds": st.sampled_from(["uts", "ipc", "mnt", "net", "pid", "user", "cgroup", "time", "fly", ""]),
    "propagation": st.sampled_from(["private", "slave", "shared", "unbindable", "", "sideways"]),
    "source": places,
    "target": targets,
    "place": targets,
    "root": roots,
    "resolv.root": st.sampled_from(["/", "<root>", "/nowhere"]),
    "readonly": flags,
    "recursive": flags,
    "lower": mostly("<root>", places | st.lists(places, max_size=3)),
    "upper": mostly("<tree>/upper", places),
    "work": mostly("<tree>/work", places),
    "overlay.target": mostly("<empty>", targets),
    "size": st.sampled_from(["1M", "10%", "0", "", "1X", "-1M", "9" * 30]) | odd_names,
    "mode": st.sampled_from([0o755, 0, -1, 1 << 40, 0o7777]),
    "seccomp.mode": st.sampled_from(["errno", "log", "kill", "", "fly"]),
    "chroot.path": places,
    "rootfs": places,
    "points": st.sampled_from(["/new", "/new/deep", "/file:file", "/../x", "", "/etc", ":file"]),
    "mask.targets": targets,
    "readonly.targets": targets | st.just("/"),
    "monotonic": numbers | st.just(60),
    "boottime": numbers | st.just(86400),
    "hostname.name": st.just("web") | odd_names,
    "domain": st.sampled_from(["", "example"]) | odd_names,
    "uid": ids,
    "gid": st.none() | ids,
    "groups": st.lists(ids, max_size=3),
    "keep_capabilities": flags,
    "keep": caps,
    "names": caps,
    "capabilities": st.none() | caps,
    "profile": profiles,
    "first": st.sampled_from([3, 0, -1, 1 << 31, 1 << 40]),
    "limits": limits,
    "context": odd_names,
    "apparmor_profile.name": odd_names | st.just("unconfined"),
    "map_ids.inside": ids,
    "outside": st.none() | ids | st.sampled_from(["auto", "", "fly"]),
    "count": st.sampled_from([1, 65536, 0, -1, 1 << 33]),
    "nameservers": st.lists(st.sampled_from(["10.0.0.1", "::1", "", "fly", "fe80::1%lo"]), max_size=2),
    "link": links,
    "inside": links,
    "bridge.name": st.sampled_from(["slfuzz0", "slfuzz0", "lo", "", "a" * 16, "a/b", "\0"]) | odd_names,
    "address": st.sampled_from(["10.213.77.9/24", "::1/128", "10.0.0.1", "", "300.1.1.1/8", "10.0.0.1/99"]),
    "gateway": st.sampled_from(["10.213.77.1", "172.22.0.1", "127.0.0.1", "::1", "", "fly"]),
    "destination": st.sampled_from(["default", "10.9.0.0/16", "::/0", "", "fly"]),
    "subnet": subnets,
    "spec": specs,
    "by": st.sampled_from([None, "proxy", "nftables", "", "magic"]),
    "publish": ports | st.just("80"),
    "read": st.none() | st.lists(targets, max_size=2),
    "write": st.none() | st.lists(targets, max_size=2),
    "execute": st.none() | st.lists(targets, max_size=2),
    "tcp_bind": st.none() | st.lists(ids, max_size=2),
    "tcp_connect": st.none() | st.lists(ids, max_size=2),
    "scope": st.lists(st.sampled_from(["signal", "abstract_unix_socket", "fly"]), max_size=2),
}

RLIMITS = ["NOFILE", "nproc", "RLIMIT_CORE", "STACK", "FLY", ""]

# What nobody would give: of another type, or too much. One argument of many, or no step would ever be done.
junk = json_values | any_text


def values_of(stage: str, parameter: str) -> Values:
    """What a parameter may be. Raises KeyError for one that nobody has thought of yet."""
    narrow = f"{stage}.{parameter}"
    return VALUES[narrow if narrow in VALUES else parameter]


def parameters(stage: Callable[..., Any]) -> list[inspect.Parameter]:
    """Those that a caller fills in: the host adds the target of an outside stage."""
    return list(inspect.signature(stage).parameters.values())[about(stage).side == "outside" :]


@st.composite
def steps(draw: Callable[..., Any], names: Values = st.sampled_from(sorted(STAGES))) -> Step:
    """One stage with arguments: mostly such that could be meant, in a few steps one too many or one of the wrong type."""
    name = draw(names)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for parameter in parameters(STAGES[name]):
        value = values_of(name, parameter.name)
        if parameter.kind is parameter.VAR_POSITIONAL:
            args += draw(st.lists(value, max_size=2))
        elif parameter.kind is parameter.VAR_KEYWORD:
            kwargs |= draw(st.dictionaries(st.sampled_from(RLIMITS), value, max_size=2))
        elif parameter.default is parameter.empty:
            args.append(draw(value))
        elif draw(st.integers(0, 2)) == 0:
            kwargs[parameter.name] = draw(value)
    return Step(STAGES[name], *_spoiled(draw, args, kwargs))


def _spoiled(draw: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    how = draw(st.sampled_from([""] * 12 + ["more", "less", "unknown", "junk"]))
    if how == "more":
        args = [*args, draw(junk)]
    elif how == "less":
        args = args[:-1]
    elif how == "unknown":
        kwargs = {**kwargs, draw(st.sampled_from(["fly", "self", "target"])): draw(junk)}
    elif how == "junk" and args:
        args = [*args[:-1], draw(junk)]
    return tuple(args), kwargs


def filled(value: Any, meant: Mapping[str, Any]) -> Any:
    """A value with the places and processes of this machine in it."""
    if isinstance(value, str):
        found = meant.get(value)
        for word, place in meant.items():
            value = value.replace(word, str(place))
        return value if found is None else found
    if isinstance(value, list | tuple):
        return type(value)(filled(each, meant) for each in value)
    if isinstance(value, dict):
        return {key: filled(each, meant) for key, each in value.items()}
    return value


# Where a sequence begins: half of the stages refuse to work before these, and that alone would be all that is ever tried.
APART = {
    "nothing": "",
    "names": "unshare_uts",
    "mounts": "unshare_mount private_mounts",
    "network": "unshare_net loopback",
    "cable": "unshare_net veth nat",
    "user": "unshare_user",
    "all": "unshare_uts unshare_ipc unshare_net unshare_pid unshare_mount private_mounts unshare_cgroup",
    "rootless": "unshare_user map_ids unshare_uts unshare_net unshare_mount private_mounts",
}
_KINDS = {"unshare_uts": "uts", "unshare_mount": "mnt", "unshare_net": "net", "unshare_user": "user"}


def prelude(name: str) -> list[Step]:
    """The first steps of a sequence, by the name that they have here."""
    return [Step(STAGES[word]) for word in APART[name].split()]


@st.composite
def sequences(draw: Callable[..., Any]) -> tuple[list[Step], list[Step]]:
    """The first steps, and some more in a row: mostly such as are not refused from the outset."""
    first = prelude(draw(st.sampled_from(sorted(APART))))
    kinds = {_KINDS[step.name] for step in first if step.name in _KINDS}
    able = [name for name in sorted(STAGES) if kinds.issuperset(about(STAGES[name]).needs)]
    bound = [name for name in able if about(STAGES[name]).needs]
    names = st.sampled_from(able) | st.sampled_from(bound or able) | st.sampled_from(sorted(STAGES))
    return first, draw(st.lists(steps(names), min_size=1, max_size=6))
