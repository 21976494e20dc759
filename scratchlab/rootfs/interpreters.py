"""The modules of Python and Perl: where they are, only the interpreter itself knows, so it is asked."""

import os
import re
from collections.abc import Iterator

from scratchlab.errors import InputError

# What prints the directories of the standard library, one a line.
_ASK = {
    # -S leaves out the directories of installed packages, -I those of the user and of the environment.
    "python": ("-I", "-S", "-c", "import sys; print(*sys.path, sep='\\n')"),
    # @INC holds them all; Config knows which are for installed packages. /etc/perl is the host's configuration.
    "perl": (
        "-MConfig", "-e",
        'my %site = map {$_, 1} @Config{grep /^(site|vendor)/, keys %Config};'
        r'print "$_\n" for grep {!$site{$_} && !m{^/etc/}} @INC',
    ),
}  # fmt: skip

# Not for running programs: tests, installers, desktop programs, the means to embed Python in C, and compiled copies.
_LEFT_OUT = re.compile(
    r"__pycache__|tests?|idle_test|idlelib|ensurepip|tkinter|turtledemo|site-packages|dist-packages|config-3.*"
)  # fmt: skip
_LEFT_OUT_FILES = re.compile(r"_test.*\.so|_tkinter.*\.so|xxlimited.*\.so|.*\.(a|h|pod)")


def modules_of(program: str) -> Iterator[str]:
    """Every file of the standard library, if `program` is python or perl; else nothing."""
    name = re.fullmatch(r"(python|perl)[0-9.]*", os.path.basename(os.path.realpath(program)))
    if name:
        # sys.path has lib-dynload as a directory of its own, inside the first: a name that comes twice does no harm.
        for directory in _ask(program, _ASK[name[1]]):
            yield from (file for file in files_below(directory) if not _LEFT_OUT_FILES.fullmatch(os.path.basename(file)))


def _ask(program: str, arguments: tuple[str, ...]) -> list[str]:
    import subprocess

    asked = subprocess.run([program, *arguments], env={}, capture_output=True, text=True, check=False)
    if asked.returncode:
        raise InputError(f"{program} does not say where its modules are", asked.stderr.strip()[-300:])
    return [line for line in asked.stdout.splitlines() if os.path.isabs(line)]


def files_below(directory: str) -> Iterator[str]:
    """The files in a directory and all below it, in order, but for those that no program needs."""
    for where, directories, files in os.walk(directory):
        directories[:] = sorted(name for name in directories if not _LEFT_OUT.fullmatch(name))
        # A dangling link or a socket is nobody's module.
        yield from filter(os.path.isfile, (f"{where}/{name}" for name in sorted(files)))
