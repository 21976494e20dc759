"""Processes and their namespaces: born, joined, signalled, and how many there may be.  namespaces(7)"""

import os
import resource

from scratchlab.errors import facts
from scratchlab.errors.cause import Asked, Cause

_KINDS = {
    "NEWUSER": "user",
    "NEWPID": "pid",
    "NEWNET": "net",
    "NEWNS": "mnt",
    "NEWUTS": "uts",
    "NEWIPC": "ipc",
    "NEWCGROUP": "cgroup",
    "NEWTIME": "time",
}


def several_threads(asked: Asked) -> Cause | None:
    """EINVAL of a call that wants a process of one thread."""
    threads = facts.status("Threads")
    if threads in ("", "1"):
        return None
    return Cause(
        f"this process has {threads} threads, and the call wants one: use a Sandbox", "ls /proc/self/task", f"{asked.call}(2)"
    )


def flags_refused(asked: Asked) -> Cause | None:
    """EINVAL of flags that do not go together, or that this kernel lacks."""
    flags = asked.text("flags").split("|")
    absent = [flag for flag in flags if flag in _KINDS and not os.path.exists(f"/proc/self/ns/{_KINDS[flag]}")]
    if absent and os.path.exists("/proc/self/ns"):
        return Cause(f"this kernel has no namespaces of the kind {', '.join(absent)}", "ls /proc/self/ns", "namespaces(7)")
    return Cause(f"the kernel refused these flags: {', '.join(asked.arguments.values())}", page=f"{asked.call}(2)")


def own_user_namespace(asked: Asked) -> Cause | None:
    """EINVAL: a process is there already."""
    if not asked.has("nstype", "NEWUSER"):
        return None
    return Cause("a process cannot enter the user namespace that it is in already", "ls -l /proc/self/ns/user", "setns(2)")


def not_a_namespace(asked: Asked) -> Cause | None:
    """EINVAL: a descriptor of something else, or of another kind."""
    behind = facts.link(f"/proc/self/fd/{asked.text('fd')}")
    kind = behind.partition(":")[0]
    wanted = [_KINDS[flag] for flag in asked.text("nstype").split("|") if flag in _KINDS]
    if behind and kind not in _KINDS.values() and "pidfd" not in behind:
        return Cause(
            f"the descriptor leads to {behind}, which is no namespace and no pidfd",
            f"ls -l /proc/self/fd/{asked.text('fd')}",
            "setns(2)",
        )
    if kind in _KINDS.values() and wanted and kind not in wanted:
        return Cause(
            f"the descriptor leads to a namespace of the kind {kind}, not {', '.join(wanted)}",
            f"ls -l /proc/self/fd/{asked.text('fd')}",
            "setns(2)",
        )
    return None


def too_many_namespaces(asked: Asked) -> Cause | None:
    """ENOSPC and EUSERS: a switch that counts, or too deep."""
    for flag, kind in _KINDS.items():
        most = facts.sysctl(f"user.max_{kind}_namespaces")
        if asked.has("flags", flag) and most.isdecimal() and int(most) < 8:
            return Cause(
                f"user.max_{kind}_namespaces is {most}: no more may be made here",
                f"sysctl user.max_{kind}_namespaces",
                "namespaces(7)",
            )
    deep = [kind for flag, kind in (("NEWUSER", "user"), ("NEWPID", "pid")) if asked.has("flags", flag)]
    if deep:
        return Cause(
            f"{' and '.join(deep)} namespaces can lie 32 deep in each other, or the limit of one above is reached",
            "sysctl user | grep namespaces",
            f"{deep[0]}_namespaces(7)",
        )
    return Cause("too many namespaces, here or in a user namespace above", "sysctl user | grep namespaces", "namespaces(7)")


# -- births -----------------------------------------------------------------------------------------------------------


def init_is_dead(_asked: Asked) -> Cause | None:
    """ENOMEM of fork, which has little to do with memory."""
    inside, ours = facts.link("/proc/self/ns/pid_for_children"), facts.link("/proc/self/ns/pid")
    if inside and inside == ours:
        return None
    return Cause(
        "pid 1 of the pid namespace for new children has died, so nothing can be born there",
        "ls -l /proc/self/ns/",
        "pid_namespaces(7)",
    )


def no_memory(_asked: Asked) -> Cause | None:
    """ENOMEM: what limits the memory of this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        return Cause(
            f"this process may have {soft} bytes of address space: RLIMIT_AS",
            "ulimit -v; grep VmSize /proc/self/status",
            "getrlimit(2)",
        )
    if facts.sysctl("vm.overcommit_memory") == "2":
        return Cause(
            "the machine promises no more memory than it has: vm.overcommit_memory is 2", "grep Commit /proc/meminfo", "proc(5)"
        )
    free = next((line for line in facts.text("/proc/meminfo").splitlines() if line.startswith("MemAvailable")), "")
    return Cause(f"the kernel found no memory ({' '.join(free.split())})", "free -m") if free else None


def group_is_full(_asked: Asked) -> Cause | None:
    """EAGAIN of fork: pids.max of a control group, ours or one above."""
    group = facts.control_group("pids")
    while group and os.path.isdir(group):
        most, now = facts.text(f"{group}/pids.max"), facts.text(f"{group}/pids.current")
        if most.isdecimal() and now.isdecimal() and int(now) >= int(most):
            return Cause(
                f"the control group {group} holds {now} processes and threads, and pids.max is {most}",
                f"cat {group}/pids.max",
                "cgroups(7)",
            )
        group = os.path.dirname(group) if group != "/" else ""
    return None


def user_is_full(_asked: Asked) -> Cause | None:
    """EAGAIN of fork: RLIMIT_NPROC counts what a user runs."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft == resource.RLIM_INFINITY or facts.has_capability("CAP_SYS_RESOURCE") or facts.has_capability("CAP_SYS_ADMIN"):
        return None
    running = sum(facts.status("Uid", pid).split()[:1] == [str(os.getuid())] for pid in facts.pids())
    return Cause(
        f"user {os.getuid()} may run {soft} processes and threads, and runs {running} processes",
        "ulimit -u; ps -u $USER -L | wc -l",
        "getrlimit(2)",
    )


def machine_is_full(_asked: Asked) -> Cause | None:
    """EAGAIN of fork: the machine's own limits."""
    threads = facts.text("/proc/loadavg").split()
    running = threads[3].partition("/")[2] if len(threads) > 3 else ""
    for name in ("kernel.threads-max", "kernel.pid_max"):
        most = facts.sysctl(name)
        if running.isdecimal() and most.isdecimal() and int(running) >= int(most) * 0.98:
            return Cause(f"the machine runs {running} threads, and {name} is {most}", f"sysctl {name}", "proc(5)")
    return Cause(
        "a limit on processes is reached", "cat /sys/fs/cgroup/pids/pids.max; ulimit -u; sysctl kernel.threads-max", "fork(2)"
    )


# -- others -----------------------------------------------------------------------------------------------------------


def no_such_process(asked: Asked) -> Cause | None:
    """ESRCH: gone, or another pid namespace's number."""
    pid = asked.text("pid").lstrip("-") or next(
        (word for path in asked.paths() for word in path.split("/") if word.isdecimal()), ""
    )
    if not pid:
        return None
    inside = facts.link("/proc/self") not in ("", str(os.getpid()))
    if os.path.exists(f"/proc/{pid}") and not inside:
        state = facts.status("State", pid)
        if state.startswith("Z"):
            return Cause(
                f"process {pid} has ended, and waits to be reaped by process {facts.status('PPid', pid)}",
                f"ps -o stat,ppid {pid}",
                "wait(2)",
            )
        if facts.status("Tgid", pid) not in ("", pid):
            return Cause(
                f"{pid} is a thread of process {facts.status('Tgid', pid)}, not a process", f"grep Tgid /proc/{pid}/status"
            )
        return None
    where = ". The /proc here belongs to another pid namespace: its numbers are not ours" if inside else ""
    return Cause(
        f"there is no process {pid} in this pid namespace, or not any more{where}", f"ls -d /proc/{pid}", "pid_namespaces(7)"
    )


def not_a_pid(asked: Asked) -> Cause | None:
    """EINVAL of a pid that can be none."""
    if asked.number("pid") > 0:
        pid = asked.text("pid")
        return Cause(f"{pid} is a thread, not a process", f"grep Tgid /proc/{pid}/status", "pidfd_open(2)")
    return Cause(f"{asked.text('pid')} is not the number of a process: those count from 1", page=f"{asked.call}(2)")


def others_process(asked: Asked) -> Cause | None:
    """EPERM of kill: a process of another user."""
    pid = asked.text("pid")
    owner = facts.status("Uid", pid).split()
    if not owner or facts.has_capability("CAP_KILL") or owner[0] == str(os.geteuid()):
        return None
    return Cause(
        f"process {pid} ({facts.command(pid)}) is of user {owner[0]}, and {facts.who()} without CAP_KILL may signal only its own",
        f"ps -o user,pid,comm {pid}",
        "kill(2)",
    )


def not_ours_to_look_into(asked: Asked) -> Cause | None:
    """EACCES below /proc/PID: where namespaces, files and memory are, only those may look who could trace it."""
    pid = next((words[2] for path in asked.paths() if (words := path.split("/"))[:2] == ["", "proc"] and len(words) > 3), "")
    if not pid.isdecimal():
        return None
    return Cause(
        f"process {pid} ({facts.command(pid)}) is of another user, or has capabilities that {facts.who()} has not here",
        f"grep -E 'Uid|CapPrm' /proc/{pid}/status /proc/self/status",
        "ptrace(2)",
    )


def clock_out_of_range(asked: Asked) -> Cause | None:
    """ERANGE of timens_offsets: a clock would show a time before the machine started, or one centuries ahead."""
    if not asked.text("file").endswith("timens_offsets"):
        return None
    uptime = facts.text("/proc/uptime").split()[:1]
    return Cause(
        f"a clock would be below 0, or more than 146 years ahead: this machine runs for {' '.join(uptime)} seconds",
        "cat /proc/uptime",
        "time_namespaces(7)",
    )


def clocks_are_set(asked: Asked) -> Cause | None:
    """EACCES of timens_offsets: once a process is in a time namespace, its clocks are set."""
    if not asked.text("file").endswith("timens_offsets"):
        return None
    return Cause(
        "somebody is in this time namespace already: its clocks can be set only before",
        "cat /proc/self/timens_offsets",
        "time_namespaces(7)",
    )


def closed_descriptor(asked: Asked) -> Cause | None:
    """EBADF: nothing is open under that number."""
    fd = asked.text("fd") or asked.text("dirfd")
    opened = facts.link(f"/proc/self/fd/{fd}")
    if opened:
        return Cause(
            f"descriptor {fd} is {opened}, opened in a way that does not allow this",
            f"cat /proc/self/fdinfo/{fd}",
            f"{asked.call}(2)",
        )
    return Cause(f"no file is open as descriptor {fd}", "ls -l /proc/self/fd", f"{asked.call}(2)")
