"""Things on the host that several sandboxes need at once: put back when the last of them goes.

A sysctl such as ip_forward is one value for the whole machine, and a missing mount point is made once in a root
filesystem that two containers may use. Each such thing is a directory of two parts, changed under one lock:

    RUN/shared/<kind>:<key>/was          the value before us, as JSON
    RUN/shared/<kind>:<key>/by/<holder>  one empty file for each sandbox that needs it

We may be killed between any two lines here, and whatever is left is cleaned by doing the release again. Therefore: `was` is
complete or missing; the thing is changed after the holder is written; it is put back before `was` is forgotten.
"""

import errno
import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from scratchlab import linux
from scratchlab.errors import HostError


def run_directory() -> Path:
    """Where our state on this machine lives until the next boot: below /run for root, else the user's own."""
    if os.geteuid() == 0 and os.access("/run", os.W_OK):  # who is only called root, in a user namespace, may not
        path = Path("/run/scratchlab")
    else:
        # Not root's, whose variable su(1) hands on.
        own = os.environ.get("XDG_RUNTIME_DIR")
        own = own if own and os.access(own, os.W_OK | os.X_OK) else None
        path = Path(own or _private_directory(Path(f"/tmp/scratchlab-{os.geteuid()}")), "scratchlab")
    if not path.is_dir():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _private_directory(path: Path) -> Path:
    """A directory in /tmp that only we can have made: what is in it is trusted, journals say what to remove."""
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise HostError(f"{path} is somebody else's, or others may write to it", "set XDG_RUNTIME_DIR to a directory of your own")
    return path


@contextmanager
def locked() -> Iterator[None]:
    """Only one process of ours at a time, on this machine, for this user.  flock(2)"""
    lock = run_directory() / "lock"
    lock.touch(mode=0o600)
    with flocked(lock):
        yield


@contextmanager
def flocked(path: Path) -> Iterator[None]:
    """Only one process at a time for this file or directory; the kernel lets go when we die.  flock(2)"""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def hold_sysctl(key: str, value: str, holder: str) -> None:
    """Set a sysctl such as net/ipv4/ip_forward for as long as somebody holds it.  proc_sys(5)"""
    with locked():
        _hold("sysctl", key, holder, was=lambda: _read_with_followers(key))
        # Not only the first: it may have been killed before it came to this line.
        if _read_sysctl(key) != value:
            _write_sysctl(key, value)


def release_sysctl(key: str, value: str, holder: str) -> None:
    """Let go of a sysctl; the last holder puts the old value back, unless somebody has changed it since."""

    def put_back(was: dict[str, str]) -> None:
        now = _read_sysctl(key)
        if was[key] == value or now not in (value, was[key]):
            return
        if now == value:  # else a release before this one was killed between this line and the next ones
            _write_sysctl(key, was[key])
        for follower, before in was.items():
            with suppress(FileNotFoundError):  # of a link that has gone since
                if _read_sysctl(follower) != before:
                    _write_sysctl(follower, before)

    with locked():
        _release("sysctl", key, holder, put_back)


def _read_with_followers(key: str) -> dict[str, str]:
    """A sysctl, and those that the kernel overwrites when it changes: ip_forward resets every link's own switch."""
    found = {key: _read_sysctl(key)}
    if key == "net/ipv4/ip_forward":
        for link in os.listdir("/proc/sys/net/ipv4/conf"):
            follower = f"net/ipv4/conf/{link}/{'accept_redirects' if link == 'all' else 'forwarding'}"  # off in a router
            with suppress(FileNotFoundError):  # of a link that has gone since: another container's
                found[follower] = _read_sysctl(follower)
    return found


def claim(thing: str, holder: str) -> bool:
    """Reserve something that is only a name, such as a subnet. Gives False where somebody else has it."""
    place = _claim_of(thing)
    place.parent.mkdir(exist_ok=True)
    try:
        # One call makes the link and says whose it is: no claim ever stands without its holder.  symlink(2)
        place.symlink_to(holder)
    except FileExistsError:
        return False
    return True


def claimed(thing: str) -> bool:
    """Whether somebody has reserved it."""
    return os.path.lexists(_claim_of(thing))


def release_claim(thing: str, holder: str) -> None:
    """Give back what this holder has reserved; nothing happens if it has not."""
    place = _claim_of(thing)
    with suppress(FileNotFoundError):
        if os.readlink(place) == holder:
            place.unlink()


def _claim_of(thing: str) -> Path:
    return run_directory() / "claims" / thing.replace("/", "%2F")


def hold_bridge(
    name: str, holder: str, draw: Callable[[], dict[str, str]], make: Callable[[dict[str, str]], None]
) -> dict[str, str]:
    """A bridge that several sandboxes share; the first to come draws its MAC address and its subnet.  ip-link(8)"""
    with locked():
        _hold("bridge", name, holder, was=draw)
        drawn: dict[str, str] = json.loads((_place("bridge", name) / "was").read_text())
        # Not only the first: it may have been killed before it came to this line.
        make(drawn)
        return drawn


def release_bridge(name: str, holder: str) -> None:
    """Let go of a bridge; the last holder removes it, if it is the one that we made."""

    def remove(drawn: dict[str, str]) -> None:
        from scratchlab.linux import netlink

        netlink.remove_link(name, drawn["address"])

    with locked():
        _release("bridge", name, holder, remove)


def hold_mount_point(path: str, directory: bool, holder: str) -> None:
    """Have a file or directory to mount on, made if it is missing, and gone with its last holder."""
    with locked():
        there = os.path.lexists(path)
        # Somebody else's: it stays, whoever goes. But what a sandbox made must stay until the last one is gone, because
        # removing a mount point takes away what is mounted there, in other mount namespaces too.  mount_namespaces(7)
        if there and not _place("mount_point", path).exists():
            return
        _hold("mount_point", path, holder, was=lambda: there)
        if not there:
            linux.mkdir(path) if directory else linux.mknod(path, stat.S_IFREG | 0o644, 0)


def release_mount_point(path: str, directory: bool, holder: str) -> None:
    """Let go of a mount point; the last holder removes it if we made it and it is empty."""

    def put_back(there: bool) -> None:
        # Not empty, or gone already: then it is no longer ours to remove.
        with suppress(OSError):
            if not there:
                os.rmdir(path) if directory else _unlink_if_empty(path)

    with locked():
        _release("mount_point", path, holder, put_back)


def _unlink_if_empty(path: str) -> None:
    if os.lstat(path).st_size == 0:
        os.unlink(path)


def _read_sysctl(key: str) -> str:
    return Path("/proc/sys", key).read_text().strip()


def _write_sysctl(key: str, value: str) -> None:
    linux.write_file(f"/proc/sys/{key}", value)


def _place(kind: str, key: str) -> Path:
    # A key may hold slashes; %2F keeps one directory for each thing, readable with ls.
    name = f"{kind}:{key}".replace("%", "%25").replace("/", "%2F")
    if len(os.fsencode(name)) > 255:  # NAME_MAX
        from hashlib import sha256

        name = f"{kind}:{sha256(os.fsencode(key)).hexdigest()}"
    return run_directory() / "shared" / name


def _hold(kind: str, key: str, holder: str, was: Callable[[], Any]) -> None:
    """Add a holder; the first one also writes down what was there before."""
    place = _place(kind, key)
    (place / "by").mkdir(parents=True, exist_ok=True)
    if not (place / "was").exists():
        # Half a file must never be taken for a value: rename(2) shows all of it or nothing.
        (place / "new").write_text(json.dumps(was()))
        (place / "new").rename(place / "was")
    (place / "by" / holder).touch()


def _release(kind: str, key: str, holder: str, put_back: Callable[[Any], None]) -> None:
    """Take a holder away; after the last one, put back what was there before."""
    place = _place(kind, key)
    if not place.exists():
        return
    (place / "by" / holder).unlink(missing_ok=True)
    try:
        (place / "by").rmdir()  # refuses while there are holders: the kernel counts for us
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            return
        if error.errno != errno.ENOENT:
            raise
    if (place / "was").exists():
        put_back(json.loads((place / "was").read_text()))
    for part in ("new", "was"):
        (place / part).unlink(missing_ok=True)
    place.rmdir()
