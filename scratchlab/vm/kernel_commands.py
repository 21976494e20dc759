"""`scratchlab kernel`: tell Jupyter of our kernels, and take that back."""

import argparse
from typing import TypeAlias

from scratchlab.errors import InputError
from scratchlab.vm import kernelspecs

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_commands(kernel: argparse.ArgumentParser) -> None:
    """Give the parser of `scratchlab kernel` its commands and options."""
    add: Subparsers = kernel.add_subparsers(metavar="COMMAND", required=True)
    make = add.add_parser("install", help="show our kernels in Jupyter's list", description="Show our kernels in Jupyter's list.")
    make.set_defaults(act=install)
    _add_where(make, "where we run in one, else --user")
    make.add_argument("--memory", default="512", metavar="MB", help="memory of the machine behind a notebook (512)")
    make.add_argument("--network", choices=["none", "user"], default="none", help="its way out (none); user: as this computer's")
    make.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(kernelspecs.names())} (all)")
    show = add.add_parser("list", help="say which are installed, and where", description="Say which are installed, and where.")
    show.set_defaults(act=list_)
    drop = add.add_parser("remove", help="remove them from Jupyter's list", description="Remove them from Jupyter's list.")
    drop.set_defaults(act=remove)
    _add_where(drop, "both")


def _add_where(parser: argparse.ArgumentParser, otherwise: str) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--user", action="store_true", help="for all Jupyters of this user")
    where.add_argument("--sys-prefix", action="store_true", help=f"for this Python environment ({otherwise})")


def install(arguments: argparse.Namespace) -> int:
    """Install kernels, and print where they are."""
    memory = arguments.memory
    if not (memory.isdecimal() and 128 <= int(memory) <= 1 << 16):
        raise InputError(f"--memory {memory}: not a size for a machine", "give megabytes, from 128 on: --memory 512")
    more = ["--memory", memory] if memory != "512" else []
    more += ["--network", "user"] if arguments.network == "user" else []
    for path in kernelspecs.install(kernelspecs.place(arguments.user, arguments.sys_prefix), arguments.names, more):
        print(path)
    return 0


def list_(_arguments: argparse.Namespace) -> int:
    """List our kernels that Jupyter finds."""
    for kernel in kernelspecs.find():
        lacks = "" if kernel.works else f"  (its Python {kernel.spec['argv'][0]} is gone: `scratchlab kernel install`)"
        print(f"{kernel.name:20} {kernel.spec['display_name']:36} {kernel.directory}{lacks}")
    return 0


def remove(arguments: argparse.Namespace) -> int:
    """Remove our kernels, and print where they were."""
    chosen = arguments.user or arguments.sys_prefix
    for path in kernelspecs.remove(kernelspecs.place(arguments.user, arguments.sys_prefix) if chosen else None):
        print(path)
    return 0
