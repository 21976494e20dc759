"""A root filesystem from the host's own programs: each with its loader, its libraries and, for Python and Perl, its modules.

    bash                        the name you gave
    /usr/bin/bash               found in PATH
    /lib64/ld-linux-x86-64.so.2 its loader, named in the program (PT_INTERP)
    libtinfo.so.6, libc.so.6    its libraries, as the loader finds them

First all files are found, then all are copied: nothing is written for a name that does not exist.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from scratchlab.errors import InputError
from scratchlab.rootfs import skeleton
from scratchlab.rootfs.build import Progress
from scratchlab.rootfs.check import PATH
from scratchlab.rootfs.executable import DEEPEST_SCRIPT, Executable, read_executable, runs_here
from scratchlab.rootfs.interpreters import files_below, modules_of
from scratchlab.rootfs.libraries import libraries_of
from scratchlab.rootfs.transplant import transplant

# What a dynamic program may want, though nothing in it says so.
_COMPANIONS = (
    "/etc/ld.so.cache",  # libraries outside the default directories are found by it; it may name what is not there
    "/etc/ld-musl-x86_64.path", "/etc/ld-musl-aarch64.path",  # the same for musl
)  # fmt: skip

# The one locale with all of Unicode that needs no installation on the host, by both of its names.  locale(5)
_LOCALE = ("/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8")

# A line editor (bash, python3, less) asks for its terminal here; the whole database would be 3,000 files.  terminfo(5)
_TERMINFO = ("/etc/terminfo", "/lib/terminfo", "/usr/lib/terminfo", "/usr/share/terminfo")
_TERMINALS = ("dumb", "linux", "screen", "screen-256color", "tmux", "tmux-256color", "vt100", "xterm", "xterm-256color")


def fill(root: Path, progress: Progress, programs: Sequence[str]) -> None:
    """Put `programs` of this host into the empty directory `root`. Raises InputError for one that cannot come."""
    if not programs:
        raise InputError("no programs given for the root filesystem", "name some: --from host bash ls cat python3")
    found = {name: find(name) for name in programs}
    wanted: dict[str, None] = {}  # a set that keeps the order
    for name, program in found.items():
        progress(f"finding what {name} needs", None)
        wanted.update(dict.fromkeys(files_of(program)))
    skeleton.merge_usr_as_on_host(root)
    skeleton.lay(root, "host")
    _copy_all(root, list(wanted), progress)
    for name, program in found.items():
        _give_name(root, os.path.basename(name), program)


def find(name: str) -> str:
    """The host's program called `name`, as an absolute path. Raises InputError that says where it was looked for."""
    # The system's directories first: a python3 of a virtual environment, in front of PATH, may lie in a home directory that
    # nobody else in the container may enter. Who wants that one gives its path.
    search = PATH + ":" + os.environ.get("PATH", "")
    places = [name] if "/" in name else [f"{directory}/{name}" for directory in search.split(":") if directory]
    found = [os.path.abspath(place) for place in places if os.path.isfile(place) and os.access(place, os.X_OK)]
    if not found:
        where = "it must be a file that you may execute" if "/" in name else f"looked in {search}"
        raise InputError(f"there is no program {name} on this machine", where)
    # Version managers (pyenv, rbenv, asdf) put a script in PATH that is called like the program, and starts the manager, which
    # will not be there. Of several programs with one name, the first that is no script is the real one.
    return next((place for place in found if _look(place).kind == "ELF"), found[0])


def files_of(program: str, depth: int = 0) -> Iterator[str]:
    """Everything that must come along for `program` to run, itself first. Raises InputError."""
    if depth > DEEPEST_SCRIPT:
        raise InputError(f"{program} is run by more than {DEEPEST_SCRIPT} scripts, one by the other", f"check: head -1 {program}")
    what = _look(program)
    yield program
    if what.kind == "script":
        for name in script_programs(what):
            yield from files_of(find(name), depth + 1)
    elif what.kind != "ELF":
        raise InputError(f"{program} is not a program", "it starts neither with an ELF header nor with #!")
    elif not runs_here(what.machine):
        raise InputError(f"{program} is for {what.machine}; this machine is {os.uname().machine}", f"check: file {program}")
    elif what.interpreter:
        yield from _files_of_dynamic(program, what.interpreter)


def script_programs(script: Executable) -> list[str]:
    """The programs that the #! line names: two, where the first is env(1)."""
    names = [script.interpreter]
    if os.path.basename(script.interpreter) == "env":
        # `env -S python3 -u` and `env A=1 python3`: the first word that is neither option nor variable.
        names += [word for word in script.argument.split() if not word.startswith("-") and "=" not in word][:1]
    return names


def _files_of_dynamic(program: str, loader: str) -> Iterator[str]:
    modules = list(modules_of(program))
    libraries = libraries_of(program, loader, [module for module in modules if module.endswith(".so")])
    yield loader
    yield from libraries
    yield from modules
    yield from filter(os.path.isfile, _COMPANIONS)
    for directory in _LOCALE:
        yield from files_below(directory)
    if any("libtinfo" in library or "libncurses" in library for library in libraries):
        yield from _terminals()


def _terminals() -> Iterator[str]:
    for directory in _TERMINFO:
        yield from filter(os.path.isfile, (f"{directory}/{name[0]}/{name}" for name in _TERMINALS))


def _copy_all(root: Path, files: Sequence[str], progress: Progress) -> None:
    for number, file in enumerate(files):
        if number % 20 == 0:
            progress("copying", number / len(files))
        if os.stat(file).st_mode & 0o6000:
            progress(f"{file} comes without its setuid bit", None)
        transplant(root, file)
    progress("copying", 1.0)


def _give_name(root: Path, name: str, program: str) -> None:
    """Let `name` be found inside even if the program lives in a home directory or a virtual environment."""
    link = root / "usr/local/bin" / name
    if os.path.dirname(program) not in PATH.split(":") and not os.path.lexists(link):
        os.symlink(program, link)


def _look(path: str) -> Executable:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        raise InputError(f"{path} may be executed but not read by you, so it cannot be copied", "try it as root: sudo") from None
    try:
        return read_executable(fd)
    finally:
        os.close(fd)
