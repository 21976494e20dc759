"""One thing to try, in a child that is thrown away with all that it made; and what came of it."""

import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, NoReturn

from scratchlab import journal, linux
from scratchlab.errors import KernelError, SandboxError, ScratchlabError, keep_causes
from scratchlab.errors.explanation import explain
from scratchlab.linux import Clone, Mount
from scratchlab.linux.elsewhere import in_child
from scratchlab.stages import stage
from scratchlab.stages.stage import Target

PATIENCE = 15.0  # seconds that one attempt may take: what hangs does not work


class Attempt(NamedTuple):
    """One thing to try."""

    what: str
    act: Callable[[], object]  # raises where it does not work
    stages: tuple[str, ...]  # which want it
    lessons: tuple[int, ...]  # which are about it
    do: str  # what to do where it does not work
    needed: bool = True  # or else Scratchlab does without it, by another way


class Finding(NamedTuple):
    """What came of an attempt."""

    what: str
    works: bool
    needed: bool
    why: str  # what the kernel said, or we; empty where it works
    cause: str  # found in live facts
    do: str
    stages: tuple[str, ...]
    lessons: tuple[int, ...]


def tried(attempt: Attempt) -> Finding:
    """Try one thing. Nothing is left of it: whatever its child started goes with the child."""
    trouble = _in_child(attempt.act)
    do = "; ".join(filter(None, (trouble.do, attempt.do))) if trouble.why else ""
    return Finding(attempt.what, not trouble.why, attempt.needed, trouble.why, trouble.cause, do, attempt.stages, attempt.lessons)


class Trouble(NamedTuple):
    """What went wrong; empty texts if nothing did."""

    why: str = ""
    cause: str = ""
    do: str = ""

    @classmethod
    def of(cls, error: BaseException) -> "Trouble":
        """An error in our words; its hint is a cause where the kernel refused, and else advice."""
        if isinstance(error, KernelError):
            return cls(error.message, error.hint)
        if isinstance(error, ScratchlabError):
            return cls(error.message, do=error.hint)
        if isinstance(error, OSError):
            said = explain(error)
            return cls(f"{said.asked}: {said.found}", said.cause)
        return cls(f"{type(error).__name__}: {error}")


def _in_child(act: Callable[[], object]) -> Trouble:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _try(act, writer)
    os.close(writer)
    try:
        answer = _answer(reader)
    finally:
        os.close(reader)
        for end in (os.kill, os.killpg):  # itself, and what it started
            with suppress(ProcessLookupError):
                end(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if answer:
        return Trouble(*json.loads(answer))
    with suppress(SandboxError):
        journal.clean()  # it was killed in the middle
    ended = f"ended by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"ended with status {os.WEXITSTATUS(status)}"
    return Trouble(f"the attempt gave no answer: {ended}")


def _answer(reader: int) -> bytes:
    deadline, data = time.monotonic() + PATIENCE, b""
    while select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(reader, 1 << 16)
        data += piece
        if not piece or data.endswith(b"\n"):  # not the end of file alone: what it started may hold the pipe open
            return data
    return json.dumps(Trouble(f"it took longer than {PATIENCE:.0f} seconds")).encode()


def _try(act: Callable[[], object], writer: int) -> NoReturn:
    # Whatever goes wrong: never return into the code of the process that we are a copy of.
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGINT, signal.SIGPIPE):  # Python ignores the second, and programs inherit that
            signal.signal(number, signal.SIG_DFL)
        stage.serve()  # stages that are called from here on are meant for this process
        keep_causes()
        os.write(writer, json.dumps(_outcome(act)).encode() + b"\n")
    finally:
        os._exit(0)


def _outcome(act: Callable[[], object]) -> Trouble:
    try:
        act()
    # Whatever it met is what it found: a module that is not installed, too.
    except BaseException as error:
        return Trouble.of(error)
    return Trouble()


# -- where to try -----------------------------------------------------------------------------------------------------


def apart(namespaces: Clone = Clone(0)) -> None:
    """Be in namespaces of one's own: root at once, an ordinary user by a user namespace."""
    if linux.capget().effective & linux.mask([linux.Cap.SYS_ADMIN]):
        linux.unshare(namespaces)
    else:
        own_user_namespace(namespaces)
    if namespaces & Clone.NEWNS:
        linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)


def own_user_namespace(namespaces: Clone = Clone(0)) -> None:
    """Be root in a user namespace, whose only id is one's own."""
    uid, gid = os.geteuid(), os.getegid()
    linux.unshare(Clone.NEWUSER | namespaces)
    linux.prctl(linux.Prctl.SET_DUMPABLE, 1)  # after a change of user, our files in /proc would belong to root
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        linux.write_file(f"/proc/self/{name}", text)


def ordinary() -> None:
    """Be an ordinary user: what root may says nothing about the others."""
    if os.geteuid() == 0:
        linux.setgroups([])
        linux.setresgid(65534, 65534, 65534)
        linux.setresuid(65534, 65534, 65534)
        linux.prctl(linux.Prctl.SET_DUMPABLE, 1)


def scratch() -> str:
    """A directory in memory to work in, which only this attempt sees."""
    apart(Clone.NEWNS)
    place = "/mnt" if os.path.isdir("/mnt") else "/tmp"  # Python itself may be in /tmp, and would be covered
    linux.mount("tmpfs", place, "tmpfs")
    return place


@contextmanager
def settled(act: Callable[[], object]) -> Iterator[Target]:
    """A child that has done `act` and waits, for outside stages to work on; they are taken back."""
    reader, writer = os.pipe()
    pid = linux.fork()
    if pid == 0:
        os.write(writer, json.dumps(_outcome(act)).encode())
        signal.pause()  # until it is killed with the attempt
    trouble = Trouble(*json.loads(os.read(reader, 1 << 16)))
    if trouble.why:
        raise ScratchlabError(trouble.why, trouble.cause or trouble.do)
    kept = journal.Journal.claim("doctor")
    try:
        yield Target(pid, kept)
    finally:
        kept.close()


def child_of(act: Callable[[], object]) -> None:
    """Do `act` in a child, which is born into new pid and time namespaces. Raises what it raised."""
    why, cause, do = in_child(lambda: _outcome(act)) or Trouble("the child died")
    if why:
        raise ScratchlabError(why, cause or do)
