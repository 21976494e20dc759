"""Version 1's files by version 2's names: how the older files take a limit, and how they show it.  cgroups(7)

    cpu.max      20000 100000          cpu.cfs_quota_us 20000 and cpu.cfs_period_us 100000
    cpu.weight   100                   cpu.shares 1024
    memory.max   67108864              memory.limit_in_bytes and memory.memsw.limit_in_bytes (memory and swap together)
    pids.max     64                    pids.max 64
    io.max       254:0 rbps=1048576    blkio.throttle.read_bps_device 254:0 1048576

Only text comes in and goes out here: `read` gives the text of one file of the group, "" where it is missing.
"""

from collections.abc import Callable

from scratchlab.errors import InputError

Read = Callable[[str], str]
Writes = list[tuple[str, str]]  # files and what to write, in this order

# Version 1 says "no limit" as the largest number of whole pages, and takes -1.
_NO_LIMIT = (1 << 63) - (1 << 16)

# What a group has that nobody has given a weight: the one number in version 2, the other in version 1.
_WEIGHT, _SHARES = 100, 1024

_MEMSW = "memory.memsw.limit_in_bytes"
_THROTTLE = {
    "rbps": "blkio.throttle.read_bps_device",
    "wbps": "blkio.throttle.write_bps_device",
    "riops": "blkio.throttle.read_iops_device",
    "wiops": "blkio.throttle.write_iops_device",
}


def to_v1(knob: str, value: str, read: Read) -> Writes:
    """What to write where, so that a version 1 group keeps the limit that version 2 calls `knob`."""
    if knob in _TO:
        return _TO[knob](value, read)
    return [(knob, value)]


def from_v1(knob: str, read: Read) -> str:
    """What version 2's file `knob` would say of a version 1 group; "" where nothing says it. Raises InputError."""
    try:
        return _FROM[knob](read) if knob in _FROM else read(knob)
    except ValueError as error:
        raise InputError(f"{', '.join(files(knob))} of cgroups(7), version 1, cannot be read: {error}") from None


def files(knob: str) -> list[str]:
    """The version 1 files that hold a limit or counters of version 2's `knob`."""
    return _FILES.get(knob, [knob])


_FILES = {
    "cpu.max": ["cpu.cfs_quota_us", "cpu.cfs_period_us"],
    "cpu.weight": ["cpu.shares"],
    "memory.max": ["memory.limit_in_bytes"],
    "memory.events": ["memory.oom_control"],
    "io.max": list(_THROTTLE.values()),
    "io.stat": ["blkio.throttle.io_service_bytes"],
}


# -- limits, written --------------------------------------------------------------------------------------------------


def _cpu(value: str, _read: Read) -> Writes:
    quota, period = value.split()
    return [("cpu.cfs_period_us", period), ("cpu.cfs_quota_us", quota.replace("max", "-1"))]


def _cpu_weight(value: str, _read: Read) -> Writes:
    return [("cpu.shares", str(max(2, round(int(value) * _SHARES / _WEIGHT))))]


def _memory(value: str, read: Read) -> Writes:
    new = value.replace("max", "-1")
    both = [("memory.limit_in_bytes", new), (_MEMSW, new)]  # the same for both leaves no room for swap
    now = read(_MEMSW)
    if not now:  # a kernel that does not account for swap
        return both[:1]
    # Memory and swap together can never be less than memory: so raise the sum first, and lower it last.
    raising = new == "-1" or int(now) < int(new)
    return both[::-1] if raising else both


def _io(value: str, _read: Read) -> Writes:
    device, *pairs = value.split()
    settings = [pair.split("=") for pair in pairs]
    return [(_THROTTLE[key], f"{device} {rate.replace('max', '0')}") for key, rate in settings]


_TO: dict[str, Callable[[str, Read], Writes]] = {
    "cpu.max": _cpu,
    "cpu.weight": _cpu_weight,
    "memory.max": _memory,
    "io.max": _io,
}


# -- limits and counters, read ----------------------------------------------------------------------------------------


def _cpu_max(read: Read) -> str:
    quota = read("cpu.cfs_quota_us")
    return f"{quota.replace('-1', 'max')} {read('cpu.cfs_period_us')}" if quota else ""


def _weight(read: Read) -> str:
    shares = read("cpu.shares")
    return str(max(1, round(int(shares) * _WEIGHT / _SHARES))) if shares else ""


def _cpu_stat(read: Read) -> str:
    rows = [line.split() for line in read("cpu.stat").splitlines()]
    # Version 1 counts nanoseconds here.
    return "\n".join(f"throttled_usec {int(n) // 1000}" if key == "throttled_time" else f"{key} {n}" for key, n in rows)


def _memory_max(read: Read) -> str:
    limit = read("memory.limit_in_bytes")
    return "max" if limit and int(limit) >= _NO_LIMIT else limit


def _memory_events(read: Read) -> str:
    # Version 2's `max` has no counterpart: recent kernels leave memory.failcnt at 0.
    return "\n".join(line for line in read("memory.oom_control").splitlines() if line.startswith("oom_kill "))


def _io_max(read: Read) -> str:
    devices: dict[str, dict[str, str]] = {}
    for key, file in _THROTTLE.items():
        for device, rate in (line.split() for line in read(file).splitlines()):
            devices.setdefault(device, dict.fromkeys(_THROTTLE, "max"))[key] = rate
    return "\n".join(f"{device} " + " ".join(f"{k}={v}" for k, v in rates.items()) for device, rates in devices.items())


def _io_stat(read: Read) -> str:
    devices: dict[str, dict[str, str]] = {}
    for words in (line.split() for line in read("blkio.throttle.io_service_bytes").splitlines()):
        if len(words) == 3 and words[1] in ("Read", "Write"):
            devices.setdefault(words[0], {})[f"{words[1][0].lower()}bytes"] = words[2]
    return "\n".join(f"{device} " + " ".join(f"{k}={v}" for k, v in stats.items()) for device, stats in devices.items())


_FROM: dict[str, Callable[[Read], str]] = {
    "cpu.max": _cpu_max,
    "cpu.weight": _weight,
    "cpu.stat": _cpu_stat,
    "memory.max": _memory_max,
    "memory.current": lambda read: read("memory.usage_in_bytes"),
    "memory.peak": lambda read: read("memory.max_usage_in_bytes"),
    "memory.events": _memory_events,
    "io.max": _io_max,
    "io.stat": _io_stat,
}
