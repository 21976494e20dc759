"""The options of `scratchlab lab`, and what it does with them."""

import argparse
import os
import socket
import sys
from pathlib import Path

from scratchlab.errors import HostError, InputError
from scratchlab.lessons import copies
from scratchlab.vm.commands import say

FOLDER = "scratchlab-lessons"  # in the learner's home; not "scratchlab", for a checkout may lie there
_FIRST_PORT = 8888


def add_commands(lab: argparse.ArgumentParser) -> None:
    """Give the parser of `scratchlab lab` its options."""
    lab.set_defaults(act=lab_)
    lab.add_argument("--folder", metavar="DIR", default=f"~/{FOLDER}", help=f"where your copies of the lessons are (~/{FOLDER})")
    lab.add_argument("--no-browser", action="store_true", help="only print the address")
    lab.add_argument("--port", metavar="N", help=f"the port to listen at ({_FIRST_PORT}, or the next that is free)")
    lab.add_argument(
        "--local",
        action="store_true",
        help="run the lessons on this machine itself, as root, and not in a virtual one; for machines that may be lost",
    )


def lab_(arguments: argparse.Namespace) -> int:
    """Bring the learner's copies up to date, have a machine to run them in, and be JupyterLab until Ctrl-C."""
    port = _port(arguments.port)
    if arguments.local:
        need_root()
    from scratchlab.lab import server

    server.need_jupyterlab()
    folder = Path(arguments.folder).expanduser().absolute()
    _tell(copies.copy_to(folder))
    if arguments.local:
        say("their cells run on this machine itself, as root")
    else:
        have_machine()
    server.serve(folder, arguments.local, port, not arguments.no_browser and has_display())
    say(f"ended. Your lessons are in {folder}")
    return 0


def _port(word: str | None) -> int:
    """The port that was asked for, if it is free; 0 if none was. Raises InputError, HostError."""
    if word is None:
        return 0
    if not (word.isdecimal() and word.isascii() and 1 <= int(word) <= 65535):
        raise InputError(f"--port {word}: not a port", "give a number from 1 to 65535, or none: then a free one is taken")
    try:
        with socket.socket() as trial:
            # As the server does, or the port of one that has just ended would not do.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(("127.0.0.1", int(word)))
    except OSError as error:
        raise HostError(f"cannot listen at port {word}: {error.strerror}", "without --port, a free one is taken") from None
    return int(word)


def need_root() -> None:
    """Raise HostError where the lessons cannot run on this machine itself."""
    instead = "without --local they run in a virtual machine in which you are root, and which you cannot lose"
    if sys.platform != "linux":
        raise HostError("--local: containers are a thing of Linux, and this machine runs another system", instead)
    if os.geteuid() != 0:
        raise HostError(f"--local: the lessons need root on this machine, and you are user {os.geteuid()}", instead)


def _tell(copied: copies.Copied) -> None:
    say(f"your lessons are in {copied}")
    if copied.kept:
        say(f"as you changed them, while there are newer ones: {', '.join(copied.kept)}. Rename yours to get the new one")


def have_machine() -> None:
    """Build what the lessons' machine starts from, and say so; nothing is said where all is there."""
    from scratchlab.vm import image
    from scratchlab.vm.progress import for_terminal
    from scratchlab.vm.ready import prepare

    shown = for_terminal()
    work = ["taking a snapshot of the machine that they run in: once, some seconds"]
    if not image.find():
        work = ["building the machine that they run in, from packages of this system: once, about a minute"]

    def progress(what: str, done: int, total: int) -> None:
        if work:
            say(work.pop())
        shown(what, done, total)

    prepare("", progress)
    if not work:
        shown("", 0, 0)


def has_display() -> bool:
    """Whether a browser would have a screen. Without one, Python would start a browser for terminals in this terminal."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
