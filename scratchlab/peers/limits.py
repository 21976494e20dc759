"""What a process is held to: control groups of either version, by version 2's names, and limits of its own."""

import math
from collections.abc import Callable
from functools import partial

from scratchlab.linux.proc import RLIMITS, Limit
from scratchlab.observe import Snapshot
from scratchlab.observe.facts import rlimit
from scratchlab.peers import orders
from scratchlab.peers.aspect import Aspect, Read, Say, listed, plain
from scratchlab.stages.sizes import readable

# -- control groups ---------------------------------------------------------------------------------------------------


def _cpus(process: Snapshot, _host: Snapshot) -> float:
    quota, _, period = process.cgroup_values.get("cpu.max", "max").partition(" ")
    return math.inf if quota == "max" else int(quota) / int(period)


def _most(knob: str) -> Read:
    def read(process: Snapshot, _host: Snapshot) -> float:
        text = process.cgroup_values.get(knob, "max")
        return math.inf if text == "max" else int(text)

    return read


def _or_none(say: Callable[[int], str]) -> Say:
    return lambda limit: "no limit" if math.isinf(limit) else say(int(limit))


def _share(cpus: float) -> str:
    return "no limit" if math.isinf(cpus) else f"{cpus:.3g} of a CPU"


def _disks(process: Snapshot, _host: Snapshot) -> frozenset[str]:
    return frozenset(process.cgroup_values.get("io.max", "max").splitlines()) - {"max"}


group = partial(Aspect, "limits")

GROUPS = (
    group("cpu", "cgroup_values", ("cpu",), orders.less, _cpus, _share, "takes more CPU"),
    group("memory", "cgroup_values", ("memory",), orders.less, _most("memory.max"), _or_none(readable), "takes more memory"),
    group("processes", "cgroup_values", ("pids",), orders.less, _most("pids.max"), _or_none(str), "starts more processes"),
    group("io", "cgroup_values", ("io",), orders.more, _disks, listed, "takes the disk"),
    # Not a wall but a wish: who is killed first when memory runs out. No stage of ours sets it.
    group("oom_score_adj", "oom_score_adj", (), orders.neither, plain("oom_score_adj")),
)

# -- of each process --------------------------------------------------------------------------------------------------

resource = partial(Aspect, "resource limits", field="rlimits", stages=("rlimits",), order=orders.lower_pair, say=rlimit)


def _own_limit(name: str) -> Read:
    return lambda process, _host: process.rlimits.get(name, Limit("unlimited", "unlimited"))


RESOURCES = tuple(
    resource(name.removeprefix("RLIMIT_"), read=_own_limit(name), means="may take more") for name in RLIMITS.values()
)

LIMITS = (*GROUPS, *RESOURCES)
