"""The words of `scratchlab vm`."""

import argparse
from collections.abc import Callable, Sequence
from typing import TypeAlias

from scratchlab.vm import commands

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Command = Callable[[argparse.Namespace], int]

_KINDS = ["x86_64", "aarch64"]


def add_commands(vm: argparse.ArgumentParser) -> None:
    """Give the parser of `scratchlab vm` its commands and options."""
    add = vm.add_subparsers(metavar="COMMAND", required=True)
    _add_machines(add)
    _add_use(add)
    _add_image(add)


# Ours, and whether a value follows. What comes after them is pytest's, whatever it looks like.
_TEST_OPTIONS = {"-n": True, "--guests": True, "--memory": True, "--results": True, "--coverage": False, "--kernel": False}


def separated(words: Sequence[str]) -> list[str]:
    """The words with `--` between our options and pytest's, where it is `vm test`."""
    ours = 2
    if list(words[:2]) != ["vm", "test"] or {"-h", "--help"} & set(words[2:3]):
        return list(words)
    while ours < len(words) and (option := words[ours].partition("=")[0]) in _TEST_OPTIONS:
        ours += 2 if _TEST_OPTIONS[option] and "=" not in words[ours] else 1
    return [*words[:ours], "--", *words[ours:]]


def _add(add: Subparsers, name: str, act: Command, help_: str) -> argparse.ArgumentParser:
    made = add.add_parser(name, help=help_, description=help_[0].upper() + help_[1:] + ".")
    made.set_defaults(act=act)
    return made


def _add_hardware(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--memory", default="512", metavar="MB", help="memory of a new machine (512); the host gives what is used"
    )
    parser.add_argument(
        "--network", choices=["none", "user"], default="none", help="none: no way out (none); user: through this computer"
    )


def _add_machines(add: Subparsers) -> None:
    start = _add(add, "start", commands.start, "start a machine that stays until it is stopped, and print its name")
    start.add_argument("name", metavar="NAME", nargs="?", help="its name (machine-1, machine-2, …)")
    _add_hardware(start)
    stop = _add(add, "stop", commands.stop, "end machines; nothing of them is left")
    stop.add_argument("names", metavar="NAME", nargs="*", help="as `scratchlab vm list` shows it")
    stop.add_argument("--all", action="store_true", help="all machines of this user")
    _add(add, "list", commands.list_, "list the machines that run")
    reset = _add(add, "reset", commands.reset, "throw a machine away, and start a clean one of the same name")
    reset.add_argument("name", metavar="NAME")


def _add_use(add: Subparsers) -> None:
    shell = _add(add, "shell", commands.shell, "a shell, as root, in a machine; in a new one that ends with it, if none is named")
    shell.add_argument("name", metavar="NAME", nargs="?", help="as `scratchlab vm list` shows it")
    shell.add_argument("--notebook", metavar="WORD", help="the machine of the running notebook that has this in its name")
    _add_hardware(shell)
    run = _add(add, "run", commands.run, "run a command, as root, in a machine; in a new one that ends with it, if none is named")
    run.add_argument("--name", metavar="NAME", help="a machine that runs")
    run.add_argument("-e", "--env", action="append", default=[], metavar="NAME=VALUE", help="may be repeated")
    run.add_argument("-w", "--workdir", metavar="DIR", help="working directory in the machine (/root)")
    _add_hardware(run)
    run.add_argument("command", metavar="-- COMMAND", nargs=argparse.REMAINDER, help="the command and its arguments")
    copy = _add(add, "copy", commands.copy, "copy a file or directory into a machine, or out of it")
    copy.add_argument("source", metavar="[NAME:]SOURCE", help="a path; with the name of a machine, in that machine")
    copy.add_argument("target", metavar="[NAME:]DIRECTORY", help="where it is copied to, under its own name")
    _add_test(add)


def _add_test(add: Subparsers) -> None:
    test = _add(add, "test", commands.test, "run the tests of this checkout in machines; what could be skipped there fails")
    test.add_argument("-n", "--guests", type=int, default=2, metavar="N", help="how many machines share the work (2)")
    test.add_argument(
        "--memory", default="4096", metavar="MB", help="memory of each (4096); tests need it, the host gives what is used"
    )
    test.add_argument("--results", default=".lab/vm-test", metavar="DIR", help="where results are put (.lab/vm-test)")
    test.add_argument("--coverage", action="store_true", help="measure which lines ran")
    test.add_argument("--kernel", action="store_true", help="only what the kernel decides, and every notebook with nbval")
    test.add_argument("words", metavar="PYTEST ARGS", nargs=argparse.REMAINDER, help="what follows goes to pytest")


def _add_image(add: Subparsers) -> None:
    build = _add(add, "build", commands.build, "build the image and take the snapshot, which the first start does otherwise")
    build.add_argument("--fresh", action="store_true", help="build it again, with today's packages")
    export = _add(add, "export", commands.export, "write the image to a file, for a computer that cannot build it")
    export.add_argument("file", metavar="FILE")
    import_ = _add(add, "import", commands.import_, "take an image in from a file that `export` wrote")
    import_.add_argument("file", metavar="FILE")
    doctor = _add(add, "doctor", commands.doctor, "say what is here of all that a machine needs, and what to do about the rest")
    for parser in (build, export, doctor):
        parser.add_argument("--machine", choices=_KINDS, default="", help="the kind of machine (this computer's own)")
