"""The command line: parse, build one value, call one method. Status 2 for wrong usage, 125 for our own failure."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn, TypeAlias

from scratchlab.errors import HostError, InputError, KernelError, ScratchlabError

Command = Callable[[argparse.Namespace], int]


class _Commands:
    """The functions of commands.py, imported when one is called: `vm` works where that which containers need is missing."""

    def __getattr__(self, name: str) -> Command:
        def act(arguments: argparse.Namespace) -> int:
            from scratchlab import commands

            command: Command = getattr(commands, name)
            return command(arguments)

        return act


commands = _Commands()

# Commands of many words, or of those who are not on Linux: each has its parser in a module of its own, and no other waits for it.
_APART = {
    "lab": ("lab.cli", "open the lessons in JupyterLab, as copies of your own"),
    "vm": ("vm.cli", "a virtual machine to be root on: start one, enter it, throw it away"),
    "kernel": ("vm.kernel_commands", "our kernels in Jupyter's list: install, list, remove"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Gives the exit status."""
    _have_standard_files()
    words = sys.argv[1:] if arguments is None else arguments
    if not words:
        parser().print_help(sys.stderr)
        return 2
    given = parsed(words)
    command: Command = given.act
    try:
        status = command(given)
        sys.stdout.flush()  # here, where it can still fail in words
        return status
    except ScratchlabError as error:
        return _complain(error)
    except BrokenPipeError:  # whoever read our output has gone: `scratchlab ps | head -1`
        _discard_output()
        return 141
    except OSError as error:  # from no system call of ours: a full disk behind our own output, a file that may not be read
        _discard_output()
        return _complain(HostError(str(error)))
    except ModuleNotFoundError as error:
        if error.name not in sys.stdlib_module_names:
            raise
        return _complain(
            HostError(f"containers are a thing of Linux, and this system has no {error.name}", "scratchlab vm --help")
        )
    except KeyboardInterrupt:
        return 130


def _complain(error: ScratchlabError) -> int:
    print(f"scratchlab: {error}", file=sys.stderr)
    status = getattr(error, "status", None)
    if status is not None:
        return int(status)
    if isinstance(error, KernelError) and error.call == "execve":
        return 127 if error.errno == 2 else 126
    return 2 if isinstance(error, InputError) else 125


def _discard_output() -> None:
    """What could not be written will not be tried again at exit, where it would fail with a traceback."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _have_standard_files() -> None:
    """Open /dev/null for standard files that are closed, or the next file that we open would take their place."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  for as long as the process lives


def parser() -> argparse.ArgumentParser:
    """The one list of commands and options."""
    top = _Parser(prog="scratchlab", description="Build a container one kernel call at a time, or run one.", epilog=_BEGIN)
    top.add_argument("--version", action=_Version, nargs=0, help="print the version")
    add = top.add_subparsers(metavar="COMMAND", required=True)
    _add_run(add)
    _add_running(add)
    _add_rootfs(add)
    _add_looking(add)
    _add_trials(add)
    _add_doctor(add)
    for name, (_, help_) in _APART.items():
        add.add_parser(name, help=help_)
    tour = _add(add, "tour", commands.tour, "build a container step by step, and show what each step changes")
    tour.add_argument("rootfs", metavar="ROOTFS", help="a directory that holds a root filesystem")
    return top


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """What the words of a command ask for. Wrong ones end the program with status 2."""
    return _parse_apart(words) if words[0] in _APART else parser().parse_args(words)


def _parse_apart(words: Sequence[str]) -> argparse.Namespace:
    name, (module, help_) = words[0], _APART[words[0]]
    commands_of = import_module(f"scratchlab.{module}")
    top = _Parser(prog="scratchlab")
    one = top.add_subparsers(metavar="COMMAND", required=True).add_parser(name, description=f"{help_[0].upper()}{help_[1:]}.")
    commands_of.add_commands(one)
    return top.parse_args(commands_of.separated(words) if name == "vm" else words)


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        # An abbreviation that works today would mean two options tomorrow.
        super().__init__(**{**options, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"scratchlab: {message}\n  hint: see `{self.prog} --help`\n")


class _Version(argparse.Action):
    def __call__(self, *_: object) -> NoReturn:
        from scratchlab import __version__

        print(f"scratchlab {__version__}")
        sys.exit(0)


Subparsers: TypeAlias = "argparse._SubParsersAction[_Parser]"


def _add(add: Subparsers, name: str, act: Command, help_: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = add.add_parser(name, help=help_, description=help_[0].upper() + help_[1:] + ".")
    made.set_defaults(act=act)
    return made


def _add_run(add: Subparsers) -> None:
    run = _add(add, "run", commands.run, "run a command in a container")
    run.epilog = _RUN
    run.add_argument("-p", "--publish", "-publish", action="append", default=[], metavar="[IP:]HOST:CONTAINER[/udp]",
                     help="make a port of the container reachable on the host; may be repeated")  # fmt: skip
    run.add_argument("--cpus", type=_or_none, default="auto", metavar="N", help="share of one CPU (0.2), or none")
    run.add_argument("--memory", type=_or_none, default="auto", metavar="SIZE", help="memory, as 512M or 2G (2G), or none")
    run.add_argument("--pids", type=_or_none, default="auto", metavar="N", help="processes and threads (512), or none")
    run.add_argument("--hostname", default="container", metavar="NAME", help="hostname (container)")
    run.add_argument("--name", default="", metavar="NAME", help="name for ps, exec and stop")
    run.add_argument("-e", "--env", action="append", default=[], metavar="NAME=VALUE", help="set or, without a value, pass on")
    run.add_argument("-w", "--workdir", metavar="DIR", help="working directory inside (/)")
    run.add_argument("-u", "--user", metavar="USER[:GROUP]", help="user by name or number (root)")
    run.add_argument("-v", "--volume", action="append", default=[], metavar="SRC:DST[:ro]", help="mount a host path")
    run.add_argument(
        "--network",
        metavar="veth|pasta|slirp4netns|none|host",
        default="auto",
        help="which network (veth for root, else pasta, slirp4netns or none)",
    )
    run.add_argument(
        "--userns",
        metavar="auto|host",
        default="",
        help="auto: a user namespace with ids that nobody else has (host; an ordinary user always has one)",
    )
    run.add_argument("--read-only", action="store_true", help="mount the root filesystem read-only")
    run.add_argument("--cap-add", action="append", default=[], metavar="CAP",
                     help="keep one more than AUDIT_WRITE, KILL and NET_BIND_SERVICE; ALL; DEFAULT: the engines' 14")  # fmt: skip
    run.add_argument("--cap-drop", action="append", default=[], metavar="CAP", help="drop a capability, or ALL")
    run.add_argument("--security-opt", action="append", default=[], metavar="OPTION",
                     help="seccomp=FILE|unconfined: another filter of system calls, or none; seccomp=log: refuse nothing, but "
                     "have the kernel log (dmesg) what the filter would refuse; seccomp=kill; no-new-privileges=false; "
                     "apparmor=PROFILE; label=type:TYPE")  # fmt: skip
    run.add_argument("--chroot", action="store_true", help="chroot instead of pivot_root; can be escaped from")
    run.add_argument("--without", action="append", default=[], metavar="STAGE", help="leave a stage out; may be repeated")
    run.add_argument("--dry-run", action="store_true", help="print the plan and touch nothing")
    run.add_argument("rootfs", metavar="ROOTFS", help="a directory that holds a root filesystem")
    run.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER, help="the command and its arguments")


def _add_running(add: Subparsers) -> None:
    _add(add, "ps", commands.ps, "list the containers and sandboxes that run")
    enter = _add(add, "exec", commands.exec_, "run one more command in a container that runs")
    enter.add_argument("-e", "--env", action="append", default=[], metavar="NAME=VALUE", help="set or pass on")
    enter.add_argument("-w", "--workdir", metavar="DIR", help="working directory inside (/)")
    enter.add_argument("name", metavar="NAME", help="as `scratchlab ps` shows it")
    enter.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER, help="the command and its arguments")
    stop = _add(add, "stop", commands.stop, "end a container: SIGTERM, then SIGKILL")
    stop.add_argument("-t", "--time", default="10", metavar="SECONDS", help="between the two signals (10)")
    stop.add_argument("name", metavar="NAME", help="as `scratchlab ps` shows it")
    _add(add, "clean", commands.clean, "take back what a killed program left on this machine")


def _add_looking(add: Subparsers) -> None:
    compare = _add(add, "compare", commands.compare, "show a process of any container engine beside one of ours")
    compare.add_argument("--rootfs", metavar="ROOTFS", help="for our container (a small one, made for the moment)")
    compare.add_argument("--json", action="store_true", help="print JSON")
    judge = _add(add, "judge", commands.judge, "put a default container before its judges: capsh, a probe from inside, runc")
    judge.add_argument("--json", action="store_true", help="print JSON, with the answer to each system call")
    judge.add_argument("--without", action="append", default=[], metavar="STAGE", help="leave a stage out; may be repeated")
    judge.add_argument("rootfs", metavar="ROOTFS", nargs="?", help="for all containers (a small one, made for the moment)")
    compare.add_argument("pid", metavar="PID", type=int, help="as the host numbers it: runc state, docker inspect, ps")


def _add_trials(add: Subparsers) -> None:
    for name, help_ in (
        ("scoreboard", "attack a container of `run` in every way we know, and say what stopped it"),
        ("ablate", "attack a container of `run` without each of its stages, one by one: what every wall is for"),
    ):
        trial = _add(add, name, commands.attack, f"{help_} (status 1 if an attack was not stopped)")
        trial.set_defaults(trial=name)
        trial.add_argument("--without", action="append", default=[], metavar="STAGE", help="leave a stage out; may be repeated")
        trial.add_argument("--json", action="store_true", help="print it as JSON")
        trial.add_argument("rootfs", metavar="ROOTFS", help="a directory that holds a root filesystem; it is not changed")


def _add_rootfs(add: Subparsers) -> None:
    rootfs = add.add_parser("rootfs", help="make a root filesystem").add_subparsers(metavar="COMMAND", required=True)
    create = _add(rootfs, "create", commands.rootfs_create, "make a root filesystem at PATH")
    create.add_argument("path", metavar="PATH", help="must not exist yet")
    create.add_argument("--from", dest="source", nargs="+", required=True, metavar=("host|busybox|debian", "PROGRAM|SUITE"),
                        help="host PROGRAM…: these programs of this machine with all that they need; busybox: one static "
                        "program with many names; debian [SUITE]: a small Debian")  # fmt: skip


def _add_doctor(add: Subparsers) -> None:
    doctor = _add(add, "doctor", commands.doctor, "try what this machine can do, and say what to do about the rest")
    doctor.epilog = _DOCTOR
    doctor.formatter_class = argparse.RawDescriptionHelpFormatter
    doctor.add_argument("--json", action="store_true", help="print it as JSON, for programs")
    doctor.add_argument("--strict", action="store_true", help="count optional things too")


_DOCTOR = """\
Everything is tried for real, in children that are thrown away; nothing is changed. Each line says whether a thing

    works   it does
    FAILS   it does not, and is needed: why, the cause, what to do, and which lessons and stages want it
    lacks   it does not, and is optional: Scratchlab takes another way, or one lesson shows less

The exit status is 0 if everything that is needed works, and with --strict only if everything works; else it is 1.

With --json: {"works", "user", "needed_and_missing": [what…], "optional_and_missing": [what…], "findings": [{"what", "works",
"needed", "why", "cause", "do", "stages": […], "lessons": [0…18]}…]}; why, cause and do are empty where it works.
"""


_BEGIN = "To begin: `scratchlab lab` opens the lessons; `scratchlab doctor` says what containers can have on this machine."

_RUN = (
    "In parentheses is what you get without the option. The exit status is that of the command, or 128 + n if signal n ended it; "
    "126 if it cannot be executed, 127 if it is not there, 125 for a failure of ours, 2 for wrong usage."
)


def _or_none(text: str) -> str | None:
    """The word none, or what the container will look at: it can say better than argparse what is wrong with it."""
    return None if text == "none" else text


if __name__ == "__main__":
    sys.exit(main())
