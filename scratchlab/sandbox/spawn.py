"""Starting a command in a sandbox: with given files, or on a terminal of the sandbox's own."""

import fcntl
import os
import signal
import struct
import termios
from typing import Any, NamedTuple, NoReturn

from scratchlab.errors import KernelError, SandboxError

_ALL_SIGNALS = sorted(set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})


class Started(NamedTuple):
    """A command that runs."""

    pid: int  # as this pid namespace numbers it
    terminal: int | None  # the controlling side of its pseudo-terminal


def start(request: dict[str, Any], standard: list[int]) -> Started:
    """Start `argv` with `env` in `cwd`. Raises KernelError where that cannot be.

    `standard` are its standard input, output and error; with `tty` they are the sandbox's new pseudo-terminal instead.
    """
    try:
        if request.get("tty"):
            return _on_terminal(request)
        return Started(_with_files(request, standard), None)
    except OSError as error:
        if isinstance(error, KernelError):
            raise
        raise _explained(error, request) from None


def _with_files(request: dict[str, Any], standard: list[int]) -> int:
    """A child with a session of its own. posix_spawn shares our memory until the exec: a fork would copy its map, 1 ms."""
    here = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        os.chdir(request["cwd"] or ".")
        return os.posix_spawn(
            _found(request["argv"][0], request["env"].get("PATH", os.defpath)),
            request["argv"],
            request["env"],
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(standard)],
            setsid=True,
            setsigdef=_ALL_SIGNALS,  # what we ignore would stay ignored over execve(2)
        )
    finally:
        os.fchdir(here)
        os.close(here)


def _found(program: str, path: str) -> str:
    """A program by its bare name, in the PATH that it will have itself; ours belongs to the host.  environ(7)"""
    if "/" in program:
        return program
    places = [os.path.join(directory or ".", program) for directory in path.split(":")]
    usable = [place for place in places if os.path.isfile(place)]
    # Like execvp(3): a file that may not be executed is passed over, but remembered for the error.
    return next((place for place in usable if os.access(place, os.X_OK)), usable[0] if usable else program)


def _on_terminal(request: dict[str, Any]) -> Started:
    """A child that is a job on the terminal, as under a shell; only a fork can give it the foreground first."""
    control, ours = _open_terminal(request["tty"])
    # The write end closes by itself when execve succeeds; else it carries the errno.
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become_job(request, ours, writer)
    os.close(writer)
    os.close(ours)
    with open(reader, "rb") as trouble:
        report = trouble.read()
    if report:
        os.close(control)
        os.waitpid(pid, 0)
        raise OSError(*struct.unpack("!i", report), "")
    return Started(pid, control)


def _become_job(request: dict[str, Any], terminal: int, trouble: int) -> NoReturn:
    """The child's side. The agent leads the session and we are a job of it: a job that a shell waits for can be stopped
    with Ctrl-Z. Had it a session of its own, nobody could continue it, and the kernel would not stop it.  credentials(7)
    """
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # or the next line would stop us: we are in the background still
        os.tcsetpgrp(terminal, os.getpid())
        for number in _ALL_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        for standard in range(3):
            os.dup2(terminal, standard)
        os.chdir(request["cwd"] or ".")
        os.execve(_found(request["argv"][0], request["env"].get("PATH", os.defpath)), request["argv"], request["env"])
    except OSError as error:
        os.write(trouble, struct.pack("!i", error.errno or 0))
    finally:
        os._exit(127)


def _open_terminal(size: list[int]) -> tuple[int, int]:
    """A pseudo-terminal from this mount namespace's /dev/pts, as the controlling terminal of this session.  pty(7)"""
    if os.getsid(0) != os.getpid():
        os.setsid()
    try:
        control, ours = os.openpty()
    except OSError as error:
        raise SandboxError(
            f"no terminal here: /dev/ptmx: {error.strerror}", "apply the stage `devices`, or run without a terminal"
        ) from None
    try:
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("4H", *size, 0, 0))
        fcntl.ioctl(ours, termios.TIOCSCTTY, 0)
    except BaseException as error:
        os.close(control)
        os.close(ours)
        if isinstance(error, PermissionError):
            raise SandboxError(
                "this sandbox runs a command on a terminal already", "wait for it, or run this one without a terminal"
            ) from None
        raise
    return control, ours


def _explained(error: OSError, request: dict[str, Any]) -> KernelError:
    """Which of the two calls failed, and why."""
    program, cwd, number = request["argv"][0], request["cwd"], error.errno or 0
    if cwd and not os.path.isdir(cwd):
        return KernelError("chdir", {"path": f'"{cwd}"'}, number, "the working directory must exist in the sandbox")
    return KernelError("execve", {"pathname": f'"{_found(program, request["env"].get("PATH", os.defpath))}"'}, number)
