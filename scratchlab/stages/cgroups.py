"""How much of the machine a process may use: stages that the host does to it, through control groups.  cgroups(7)

A limit holds for the process and for everything that it starts. Version 2 has one group for all limits, the same in which the
host finds and kills every process of a sandbox; version 1 has a group in each controller's tree. The files below are version
2's; cgroup_v1.py knows their older names.
"""

import errno
import os

from scratchlab.errors import InputError, KernelError, StageError
from scratchlab.journal import Journal
from scratchlab.linux import cgroupfs
from scratchlab.stages.sizes import machine_memory, parse_count, parse_number, parse_size, readable, whole_disk
from scratchlab.stages.stage import Target, outside

__all__ = [
    "cpu", "cpu_quota", "has_groups", "io", "join_groups", "memory", "memory_limit", "memory_size", "oom_kills", "parse_size",
    "pids", "prepare", "process_count", "track",
]  # fmt: skip


# -- limits -----------------------------------------------------------------------------------------------------------


@outside(
    "cgroups(7)",
    shell="echo '20000 100000' > /sys/fs/cgroup/scratchlab/web/cpu.max",
    engine="docker run --cpus 0.2",
    prove="scratchlab.stages.loads:prove_cpu",
)
def cpu(target: Target, share: float | str, period_us: int = 100_000) -> None:
    """A share of one CPU: 0.2 runs for 20 ms, then waits until 100 ms are over.  cgroups(7)"""
    quota = cpu_quota(share, period_us)

    if cgroupfs.version(group := _enter(target, "cpu")) == 1:
        _enter(target, "cpuacct")  # version 1 counts elsewhere what was used
    cgroupfs.limit(group, "cpu.max", f"{quota} {period_us}")


@outside(
    "cgroups(7)",
    shell="echo 2G > /sys/fs/cgroup/scratchlab/web/memory.max",
    engine="docker run --memory 2g --memory-swap 2g",
    prove="scratchlab.stages.loads:prove_memory",
)
def memory(target: Target, maximum: int | str) -> None:
    """So many bytes of memory, "2G" or "512M"; above that, the kernel kills a process of the group.  cgroups(7)"""
    size = memory_size(maximum)

    group = _enter(target, "memory")
    cgroupfs.limit(group, "memory.max", str(size))
    if cgroupfs.has(group, "memory.swap.max"):
        cgroupfs.limit(group, "memory.swap.max", "0")  # or it would only get slower, and fill the machine's swap


@outside(
    "cgroups(7)",
    shell="echo 512 > /sys/fs/cgroup/scratchlab/web/pids.max",
    engine="docker run --pids-limit 512",
    prove="scratchlab.stages.loads:prove_pids",
)
def pids(target: Target, maximum: int) -> None:
    """At most so many processes and threads; one more fork fails with EAGAIN, and a fork bomb fizzles out.  cgroups(7)"""
    count = process_count(maximum)

    cgroupfs.limit(_enter(target, "pids"), "pids.max", str(count))


@outside(
    "cgroups(7)",
    shell="echo '254:0 wbps=1048576' > /sys/fs/cgroup/scratchlab/web/io.max",
    engine="docker run --device-write-bps /dev/vda:1mb",
    prove="scratchlab.stages.loads:prove_io",
)
def io(
    target: Target,
    device: str,
    read_bps: int | str | None = None,
    write_bps: int | str | None = None,
    read_iops: int | None = None,
    write_iops: int | None = None,
) -> None:
    """So many bytes, or operations, a second from and to one disk; more must wait for its turn.  cgroups(7)"""
    disk = whole_disk(device)
    asked = {"rbps": read_bps, "wbps": write_bps, "riops": read_iops, "wiops": write_iops}
    rates = [f"{key}={parse_size(rate)}" for key, rate in asked.items() if rate is not None]
    if not rates:
        raise InputError(f"no limit was given for {device}", "give read_bps, write_bps, read_iops or write_iops")

    cgroupfs.limit(_enter(target, "io"), "io.max", " ".join([disk, *rates]))


@outside("cgroups(7)", shell="echo $PID > /sys/fs/cgroup/scratchlab/web/cgroup.procs", engine="docker exec")
def join_groups(target: Target, pid: int) -> None:
    """The limits of a running sandbox, one of whose processes is `pid`: what is in one group shares one limit.  cgroups(7)"""
    groups = _our_groups(pid)
    if not groups:
        raise StageError(f"process {pid} is in no control group of ours", f"check: cat /proc/{pid}/cgroup; see `scratchlab ps`")
    for group in sorted(groups):
        _gather(target, group)


def has_groups(pid: int) -> bool:
    """Whether a process is in control groups of ours: an ordinary user's may be in none."""
    return bool(_our_groups(pid))


def _our_groups(pid: int) -> set[str]:
    return {group for group in cgroupfs.groups_of(pid).values() if cgroupfs.is_ours(group)}


# -- what a sandbox has used up ---------------------------------------------------------------------------------------


def oom_kills(target: Target) -> int:
    """How many processes of the sandbox the kernel has killed for want of memory."""
    return cgroupfs.counters(cgroupfs.path_of("memory", target.name), "memory.events").get("oom_kill", 0)


def memory_limit(target: Target) -> int:
    """The sandbox's memory limit in bytes; 0 if it has none."""
    text = cgroupfs.show(cgroupfs.path_of("memory", target.name), "memory.max")
    return int(text) if text.isdigit() else 0


# -- groups -----------------------------------------------------------------------------------------------------------


def track(target: Target) -> None:
    """Keep a sandbox's processes in one group, so that all can be found and killed after any crash.  cgroups(7)"""
    _enter(target, None)


def prepare(journal: Journal, *controllers: str) -> list[str]:
    """Make a sandbox's groups before its birth, for `fork_into`: being born in a group costs less than being moved there.

    Where none can be made to keep its processes together, a sandbox does without, and is found by its pid alone.
    """
    also = ["cpuacct"] if "cpu" in controllers else []  # where version 1 counts what cpu() limits
    tracking = [None] if cgroupfs.can_track() else []
    return list(dict.fromkeys(_make(journal, controller) for controller in (*tracking, *controllers, *also)))


def _enter(target: Target, controller: str | None) -> str:
    """The sandbox's group in one tree, made if it is missing, with the sandbox's processes in it."""
    group = _make(target.journal, controller)
    _gather(target, group)
    return group


def _make(journal: Journal, controller: str | None) -> str:
    group = cgroupfs.path_of(controller, journal.name)
    if not os.path.isdir(group):
        journal.will("cgroup", path=group)
    return cgroupfs.create(controller, journal.name)


def _gather(target: Target, group: str) -> None:
    """Move in the process and what it has started before. In rounds: a child that is not in yet may have a child."""
    tracked = cgroupfs.path_of(None, target.name)
    for _ in range(8):
        outsiders = {target.pid, *cgroupfs.procs(tracked)} - set(cgroupfs.procs(group))
        if not outsiders:
            break
        for pid in outsiders:
            _move(target, group, pid)


def _move(target: Target, group: str, pid: int) -> None:
    try:
        cgroupfs.enter(group, pid)
    except KernelError as error:
        # One that has ended needs no limit any more; but the process itself should be there.
        if error.errno != errno.ESRCH or pid == target.pid:
            raise


# -- what may be asked for --------------------------------------------------------------------------------------------


def cpu_quota(share: float | str, period_us: int = 100_000) -> int:
    """Microseconds of CPU in one period: 1 ms or more, in a period of 1 ms to 1 s."""
    cpus = os.cpu_count() or 1
    number = parse_number(share, "a share of one CPU")
    if number > cpus:
        raise InputError(f"asked for {share} CPUs, and this machine has {cpus} (nproc)")
    if not 1_000 <= period_us <= 1_000_000:
        raise InputError(f"a period of {period_us} microseconds", "the kernel takes 1000 to 1000000")
    quota = round(number * period_us)
    if quota < 1_000:
        raise InputError(
            f"{share} of a CPU is {quota} microseconds in every {period_us}, and the kernel gives no less than 1000",
            f"the least is {1_000 / period_us:g} with this period, 0.001 with period_us=1000000",
        )
    return quota


def process_count(maximum: int | str) -> int:
    """How many processes. Raises InputError above what the kernel can number."""
    return parse_count(maximum, "a limit on processes", int(_machine("/proc/sys/kernel/pid_max")), "kernel.pid_max")


def memory_size(maximum: int | str) -> int:
    """Bytes, in whole pages. Raises InputError above what this machine has."""
    size, total = parse_size(maximum), machine_memory()
    if size > total:
        raise InputError(f"asked for {readable(size)} of memory, and this machine has {readable(total)} (MemTotal, free -b)")
    page = os.sysconf("SC_PAGE_SIZE")
    if size < page:
        raise InputError(f"{size} bytes of memory: the kernel deals in pages of {page}", 'say "2G" for two gigabytes')
    return size // page * page


def _machine(path: str) -> str:
    with open(path) as file:
        return file.read().strip()
