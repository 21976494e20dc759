"""Make a root filesystem: all of it, or nothing.

It grows in a directory beside its place, `PATH.partial-…`, and gets its name at the end, in one rename(2). Until then nobody
can take it for complete; and whatever ends the work before, an error, a full disk, Ctrl-C or SIGTERM, removes what there is.
Only SIGKILL leaves the partial directory behind, under a name that says what it is.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

from scratchlab.errors import HostError, InputError, ScratchlabError

Progress = Callable[[str, float | None], None]  # a few words, and the done part from 0 to 1 where it is known
Fill = Callable[[Path, Progress], None]


def sources() -> dict[str, str]:
    """What `create` can make a root filesystem from, each with a line for people."""
    return {
        "host": "programs of this machine, with their libraries",
        "busybox": "one static program with many names, 2 MB",
        "debian": "a small Debian, fetched by apt, 150 MB",
    }


def create(
    path: str | os.PathLike[str],
    source: str = "host",
    programs: Sequence[str] = (),
    suite: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make a root filesystem at `path`, where nothing may be yet but an empty directory. Gives its absolute path.

    Raises InputError for what was asked, and HostError for what this machine lacks, be it a program or space.
    """
    if not os.fspath(path):
        raise InputError("the path of the new root filesystem is empty", "name a directory that does not exist yet")
    place = Path(os.path.abspath(path))
    fill = _filler(source, programs, suite)
    check_place(place)
    with _signals_as_exceptions(), _built_aside(place) as root:
        fill(root, progress or _silent)
    return place


def _filler(source: str, programs: Sequence[str], suite: str | None) -> Fill:
    if source not in sources():
        raise InputError(f"a root filesystem cannot come from {source!r}", f"choose one of: {', '.join(sources())}")
    if programs and source != "host":
        raise InputError(f"{source} brings its own programs, so {', '.join(programs)} cannot be chosen", "use --from host")
    if suite and source != "debian":
        raise InputError(f"{source} has no suites, so {suite!r} means nothing to it", "use --from debian")
    if source == "busybox":
        from scratchlab.rootfs import busybox

        return busybox.fill
    if source == "debian":
        from scratchlab.rootfs import debian

        return partial(debian.fill, suite=suite)
    from scratchlab.rootfs import hostbins

    return partial(hostbins.fill, programs=programs)


def check_place(place: Path) -> None:
    """Refuse a place where something is, or where nothing can be made. Raises InputError."""
    parent = place.parent
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        raise InputError(f"{place} is there already, and is not a directory", "choose a path where nothing is yet")
    if place.is_mount():
        # rename(2) could not replace it, and the partial directory beside it would be on another disk.
        raise InputError(f"something is mounted on {place}", f"choose a path below it: {place / 'root'}")
    if place.is_dir() and os.listdir(place):
        raise InputError(f"{place} is not empty, and nothing is ever overwritten", "choose a path where nothing is yet")
    if not parent.exists():
        raise InputError(f"{parent} does not exist", f"make it first: mkdir -p {parent}")
    if not parent.is_dir():
        raise InputError(f"{parent} is not a directory, so nothing can be made in it", f"check: ls -ld {parent}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"you may not write to {parent}", "choose another path, or use sudo")


@contextmanager
def _built_aside(place: Path) -> Iterator[Path]:
    """A new directory beside `place`, that takes its place at the end, or is gone."""
    aside = place.with_name(f"{place.name}.partial-{os.urandom(6).hex()}")
    try:
        aside.mkdir()
        aside.chmod(0o755)  # not cut by the umask: other users in the container must get in
        yield aside
        # Replaces an empty directory, and fails if anybody put something there meanwhile.  rename(2)
        os.rename(aside, place)
    except ScratchlabError:
        raise
    except OSError as error:
        free = os.statvfs(place.parent)
        where = f" ({error.filename})" if error.filename else ""
        raise HostError(
            f"{place} could not be made: {error.strerror}{where}",
            f"free space there: {free.f_bavail * free.f_frsize >> 20} MB (check: df {place.parent})",
        ) from error
    finally:
        _remove(aside)


def _remove(aside: Path) -> None:
    import shutil

    if not aside.exists():
        return
    # A second Ctrl-C must not leave half of the half-made: it waits until this is done.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        shutil.rmtree(aside)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the program as an exception does: by way of every `finally`."""
    import threading

    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only; there, somebody else decides
        return
    # What has a handler already, or is ignored (nohup), stays as it is.
    mine = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in mine:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _silent(_words: str, _part: float | None) -> None:
    pass
