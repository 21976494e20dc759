"""Which system calls are tried, and how to try one without doing it.

The arguments are all -1: no descriptor, no address, no flags, no number that means anything. The kernel then answers EBADF,
EFAULT or EINVAL for a call that it would make, and EPERM or ENOSYS for one that it refuses. amicontained(1) does the same.
"""

from scratchlab.linux.numbers import here

NOTHING = -1
ARGUMENTS = 6  # the most that a system call has

# Calls that need no argument to do something, or that do not come back.
SKIPPED = {
    "exit": "ends the caller", "exit_group": "ends the caller",
    "fork": "starts a process", "vfork": "starts a process",
    "pause": "waits for a signal", "rt_sigreturn": "makes sense only when a signal handler returns",
    "reboot": "a mistake would be too dear", "sync": "writes all disks of the machine, and waits for them",
    "vhangup": "hangs up the terminal of whoever called", "kexec_load": "a mistake would be too dear",
    "uretprobe": "ends a caller that is not being traced", "uprobe": "ends a caller that is not being traced",
}  # fmt: skip

# Where -1 means something, or is nothing that an ordinary program would say: filters look at numbers too.
INSTEAD = {
    "kill": (0x7FFFFFFF, 0),  # signal 0, which only asks, to a process that cannot exist; -1 would be everybody
    "futex": (1, 0),  # wait, on an address that is not one; an unknown operation is ENOSYS
    "modify_ldt": (0, 0, 0),  # read none of it; an unknown operation is ENOSYS
    "msgget": (0x5C4A7C4, 0),  # find, and do not make
    "setsid": (),
    "alarm": (0,),  # -1 is in 136 years
    "clone": (0x10000,),  # a thread that shares no signal handlers: there are none such
    "personality": (0xFFFFFFFF,),  # asks
    "socket": (1, NOTHING, NOTHING),  # AF_UNIX, of no type
    "open": (NOTHING, 0, 0), "openat": (NOTHING, NOTHING, 0, 0), "creat": (NOTHING, 0),  # no mode with setuid in it
    "chmod": (NOTHING, 0), "fchmod": (NOTHING, 0), "fchmodat": (NOTHING, NOTHING, 0), "fchmodat2": (NOTHING, NOTHING, 0),
    "mknod": (NOTHING, 0, 0), "mknodat": (NOTHING, NOTHING, 0, 0),
}  # fmt: skip

# What is worth a try of its own, because some allow the call and refuse this.
ALSO = {
    "clone of a user namespace": ("clone", (0x10010000,)),
    "chmod to setuid": ("fchmod", (NOTHING, 0o4755)),
    "socket for the kernel's cryptography": ("socket", (38, NOTHING, NOTHING)),
    "socket to the hypervisor": ("socket", (40, NOTHING, NOTHING)),
    "socket for whole packets": ("socket", (17, NOTHING, NOTHING)),
    "personality without random addresses": ("personality", (0x0040000,)),
}


def to_try() -> dict[str, tuple[int, list[int]]]:
    """The number and the arguments of each call, by name."""
    numbers = here()
    plain = {name: (number, _six(INSTEAD.get(name, (NOTHING,) * ARGUMENTS))) for name, number in numbers.items()}
    also = {words: (numbers[name], _six(arguments)) for words, (name, arguments) in ALSO.items()}
    return {name: call for name, call in (plain | also).items() if name not in SKIPPED}


def _six(given: tuple[int, ...]) -> list[int]:
    return [*given, *[0] * (ARGUMENTS - len(given))]
