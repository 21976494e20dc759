"""Namespaces: the kernel's tables (of names, processes, links, mounts …), each in as many copies as somebody asked for.

unshare(2) gives the calling process a new copy, setns(2) an existing one. A new namespace is not yet a container: it starts
as a copy of the old one (uts, mnt), empty (ipc, net), or works only for children (pid, time).  namespaces(7)
"""

import os
import signal
from contextlib import suppress
from functools import reduce
from operator import or_
from typing import NoReturn

from scratchlab import linux
from scratchlab.errors import InputError
from scratchlab.owner import has_ended
from scratchlab.stages.stage import inside, namespaces_of

LONGEST_HOSTNAME = 64  # bytes: __NEW_UTS_LEN of the kernel


@inside("unshare(2)", "uts_namespaces(7)", shell="unshare --uts", engine="always, by docker run; not with --uts host")
def unshare_uts() -> None:
    """A hostname and a domain name of your own: for now, copies of the host's.  uts_namespaces(7)"""
    linux.unshare(linux.Clone.NEWUTS)


@inside("unshare(2)", "ipc_namespaces(7)", shell="unshare --ipc", engine="always, by docker run; not with --ipc host")
def unshare_ipc() -> None:
    """Message queues, semaphores and shared memory of your own, none yet.  ipc_namespaces(7)"""
    linux.unshare(linux.Clone.NEWIPC)


@inside("unshare(2)", "mount_namespaces(7)", shell="unshare --mount --propagation unchanged", engine="always, by docker run")
def unshare_mount() -> None:
    """A mount table of your own, copied; where the host's mounts are shared, changes still travel.  mount_namespaces(7)"""
    linux.unshare(linux.Clone.NEWNS)


@inside("unshare(2)", "network_namespaces(7)", shell="unshare --net", engine="always, by docker run; not with --network host")
def unshare_net() -> None:
    """A network of your own: one loopback link, and that is down.  network_namespaces(7)"""
    linux.unshare(linux.Clone.NEWNET)


@inside("unshare(2)", "cgroup_namespaces(7)", shell="unshare --cgroup", engine="docker run --cgroupns private")
def unshare_cgroup() -> None:
    """A view of control groups that begins at your own: its path reads / now.  cgroup_namespaces(7)"""
    linux.unshare(linux.Clone.NEWCGROUP)


@inside("unshare(2)", "pid_namespaces(7)", shell="unshare --pid --fork --kill-child", engine="always, but --pid host")
def unshare_pid() -> None:
    """Be process 1 of a pid namespace: what was this process waits outside for you to end.  pid_namespaces(7)"""
    # A process never changes its pid: unshare only says where the next child will be born.
    linux.unshare(linux.Clone.NEWPID)
    continue_in_child()


@inside("unshare(2)", "time_namespaces(7)", shell="unshare --time --boottime 86400", engine="no engine has an option for it")
def unshare_time(monotonic: float = 0, boottime: float = 0) -> None:
    """Clocks of your own, this many seconds ahead: the uptime of another machine.  time_namespaces(7)"""
    offsets = f"monotonic {_seconds(monotonic)}\nboottime {_seconds(boottime)}\n"
    linux.unshare(linux.Clone.NEWTIME)
    # The offsets can be set only until the first process is in, so we go in ourselves only then.
    linux.write_file("/proc/self/timens_offsets", offsets)
    fd = os.open("/proc/self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
    try:
        linux.setns(fd, linux.Clone.NEWTIME)
    finally:
        os.close(fd)


def _seconds(offset: float) -> str:
    """Seconds and nanoseconds as timens_offsets wants them: -0.5 is -1 second and 500000000 ns."""
    if not abs(offset) < 1 << 62:
        raise InputError(f"a clock cannot be {offset} seconds ahead", "give a number of seconds, such as 86400")
    whole, rest = divmod(round(offset * 1_000_000_000), 1_000_000_000)
    return f"{whole} {rest}"


@inside("unshare(2)", "user_namespaces(7)", shell="unshare --user", engine="dockerd --userns-remap, podman run --userns")
def unshare_user() -> None:
    """Every capability, but only over what this user namespace will own; nobody's id until map_ids.  user_namespaces(7)"""
    linux.unshare(linux.Clone.NEWUSER)
    after_new_credentials()


def after_new_credentials() -> None:
    """Take back what the kernel does to a process whose credentials have changed, because it distrusts it.  proc(5), prctl(2)"""
    # Its files in /proc belong to root, so that an ordinary user outside could not write its uid_map, nor enter it; and the
    # promise to die with the parent is forgotten.
    linux.prctl(linux.Prctl.SET_DUMPABLE, 1)
    linux.prctl(linux.Prctl.SET_PDEATHSIG, signal.SIGKILL)


@inside("setns(2)", "pidfd_open(2)", shell="nsenter --target PID --all", engine="docker exec, --network container:NAME")
def join(pid: int, *kinds: str) -> None:
    """The namespaces of another process: those named, or all in which it differs from this one.  setns(2)"""
    if unknown := set(kinds) - set(linux.NAMESPACES):
        raise InputError(f"no such namespace: {', '.join(sorted(unknown))}", f"there are {', '.join(linux.NAMESPACES)}")
    pidfd = linux.pidfd_open(pid)
    try:
        entered = _enter(pid, pidfd, kinds or tuple(linux.NAMESPACES))
    finally:
        os.close(pidfd)
    if "user" in entered:
        after_new_credentials()
    if "pid" in entered:
        continue_in_child()


def _enter(pid: int, pidfd: int, kinds: tuple[str, ...]) -> list[str]:
    theirs, ours = namespaces_of(pid), namespaces_of("self")
    wanted = [kind for kind in kinds if theirs[kind] != ours[kind]]
    # Opened now: later, in there, no path leads to it any more.
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if wanted:
            # One call: it enters the user namespace first, which gives the right to enter the others, and all or none.
            linux.setns(pidfd, reduce(or_, (linux.NAMESPACES[kind] for kind in wanted)))
        if "mnt" in wanted:
            # setns leads to the root of the mount table. Where the other has only been chrooted, that is the host's.
            linux.fchdir(root)
            linux.chroot(".")
    finally:
        os.close(root)
    return wanted


@inside("sethostname(2)", "uts_namespaces(7)", shell="hostname NAME", engine="docker run --hostname NAME", needs=("uts",))
def hostname(name: str, domain: str = "") -> None:
    """A machine name, for this UTS namespace only.  sethostname(2)"""
    for text in (name, domain):
        if len(os.fsencode(text)) > LONGEST_HOSTNAME:
            raise InputError(f"{text!r} has {len(os.fsencode(text))} bytes", f"the kernel takes at most {LONGEST_HOSTNAME}")
    if not name:
        raise InputError("the hostname is empty", 'give it one: hostname("web")')
    linux.sethostname(name)
    if domain:
        linux.setdomainname(domain)


# -- being born into a namespace --------------------------------------------------------------------------------------


def continue_in_child() -> None:
    """Let a child go on from here; this process waits outside and ends the way the child ends.  fork(2)"""
    waiter = os.pidfd_open(os.getpid())
    # The child decides what Ctrl-C means; if we died of it, so would the child. From before the fork on: a KeyboardInterrupt
    # right after it would let this process go on as well, in the code that is the child's now.
    heard = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        if child := linux.fork():
            _end_like(child)
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)
    # The kernel forgets the parent's promise at fork. As process 1 of its namespace the child cannot see the waiter by
    # getppid(2), which is 0 there dead or alive; the pidfd knows whether it died before this promise was made.
    linux.prctl(linux.Prctl.SET_PDEATHSIG, signal.SIGKILL)
    died = has_ended(waiter)
    os.close(waiter)
    if died:
        os._exit(1)


def _end_like(child: int) -> NoReturn:
    """Wait for `child`, which has the terminal and all else that was ours, then exit or be killed as it was."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # An end of a pipe or socket that stays open here would hide from others that the child has closed its own.
    os.closerange(3, 1 << 20)
    status = _reap_until(child)
    if os.WIFSIGNALED(status):
        with suppress(OSError):  # SIGKILL has no handler to put back
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    # Here too if we are process 1 of another pid namespace ourselves, which no signal of its own can kill.
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def _reap_until(child: int) -> int:
    # Children from before the fork are still ours: without this, each would stay a zombie.
    while True:
        ended, status = os.wait()
        if ended == child:
            return status
