"""Paths: which part is missing, is no directory, closes its door, or leads round in a ring.  path_resolution(7)"""

import os
import stat
from collections.abc import Iterator

from scratchlab.errors import facts
from scratchlab.errors.cause import Asked, Cause

_PAGE = "path_resolution(7)"
_MOST_LINKS = 40


def _steps(path: str) -> Iterator[tuple[str, bool]]:
    """Every directory on the way, then the path itself; and whether it is the last."""
    whole = path.rstrip("/") or "/"
    at = 0
    while (at := whole.find("/", at + 1)) > 0:
        yield whole[:at], False
    yield whole, True


def missing_part(asked: Asked) -> Cause | None:
    """ENOENT: the first part of a path that is not there."""
    for path in asked.paths():
        for step, last in _steps(path):
            if os.path.islink(step) and not os.path.exists(step):
                return Cause(f"{step} is a symbolic link to {facts.link(step)}, which does not exist", f"namei -l {path}", _PAGE)
            if not os.path.lexists(step):
                return _not_there(step, path, last)
    return None


def _not_there(step: str, path: str, last: bool) -> Cause:
    where = os.path.dirname(step) or "the working directory"
    beside = facts.names(os.path.dirname(step) or ".")
    there = f" (it holds {', '.join(beside[:5])}{' …' if len(beside) > 5 else ''})" if beside else ", which is empty"
    if last:
        return Cause(f"{step} does not exist in {where}{there}", f"namei -l {path}", _PAGE)
    return Cause(f"{step} does not exist, so nothing can be below it: mkdir -p {step}", f"namei -l {path}", _PAGE)


def gone_directory(asked: Asked) -> Cause | None:
    """ENOENT for a relative path, because the working directory itself was removed."""
    relative = any(not path.startswith("/") for path in asked.paths())
    if relative and facts.link("/proc/self/cwd").endswith(" (deleted)"):
        return Cause("the working directory was removed: nothing can be made or found in it", "ls -l /proc/self/cwd", _PAGE)
    return None


def not_a_directory(asked: Asked) -> Cause | None:
    """ENOTDIR: the part of a path that is something else."""
    for path in asked.paths():
        for step, last in _steps(path):
            if os.path.exists(step) and not os.path.isdir(step):
                why = (
                    f"{step} is {kind(step)}, and the call wants a directory"
                    if last
                    else f"{step} is {kind(step)}: nothing can be below it"
                )
                return Cause(why, f"namei -l {path}", _PAGE)
    return None


def kind(path: str) -> str:
    """What a path names, in words."""
    if os.path.islink(path):
        return f"a symbolic link to {facts.link(path)}"
    words = {
        stat.S_IFDIR: "a directory", stat.S_IFREG: "a file", stat.S_IFCHR: "a character device", stat.S_IFBLK: "a block device",
        stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
    }  # fmt: skip
    return words.get(stat.S_IFMT(os.stat(path).st_mode), "something else")


def ring_of_links(asked: Asked) -> Cause | None:
    """ELOOP: symbolic links that lead to each other, or one where none is allowed."""
    for path in asked.paths():
        for step, last in _steps(path):
            ring = _chain(step)
            if len(ring) > 1 and ring[-1] in ring[:-1]:
                return Cause(f"these symbolic links lead round in a ring: {' → '.join(ring)}", f"namei {path}", _PAGE)
            if len(ring) > _MOST_LINKS:
                return Cause(f"{step} leads through more than {_MOST_LINKS} symbolic links", f"namei {path}", _PAGE)
            if last and len(ring) > 1:
                return Cause(
                    f"{step} is a symbolic link to {ring[1]}, and the call was told to follow none", f"ls -l {step}", "open(2)"
                )
    return None


def _chain(path: str) -> list[str]:
    """A path and what its link points to, and so on, until it is no link, or one that was there already."""
    chain = [path]
    while os.path.islink(chain[-1]) and len(chain) <= _MOST_LINKS:
        chain.append(os.path.normpath(os.path.join(os.path.dirname(chain[-1]), facts.link(chain[-1]))))
        if chain[-1] in chain[:-1]:
            break
    return chain


def there_already(asked: Asked) -> Cause | None:
    """EEXIST: what has the name."""
    path = asked.paths()[-1] if asked.paths() else ""
    if not os.path.lexists(path):
        return None
    return Cause(f"{path} exists already, as {kind(path)}", f"ls -ld {path}")


def name_too_long(asked: Asked) -> Cause | None:
    """ENAMETOOLONG: one name above 255 bytes, or a path above 4095."""
    for path in asked.paths():
        longest = max(path.split("/"), key=len)
        if len(os.fsencode(longest)) > 255:
            return Cause(
                f"the name {longest[:20]}… has {len(os.fsencode(longest))} bytes, and 255 is the most",
                "getconf NAME_MAX /",
                _PAGE,
            )
        if len(os.fsencode(path)) > 4095:
            return Cause(f"the path has {len(os.fsencode(path))} bytes, and 4095 is the most", "getconf PATH_MAX /", _PAGE)
    return None


def is_a_directory(asked: Asked) -> Cause | None:
    """EISDIR: a directory where a file is wanted."""
    return next(
        (
            Cause(f"{path} is a directory, and the call wants a file", f"ls -ld {path}")
            for path in asked.paths()
            if os.path.isdir(path)
        ),
        None,
    )


def not_empty(asked: Asked) -> Cause | None:
    """ENOTEMPTY: what is still in a directory."""
    for path in reversed(asked.paths()):
        if held := facts.names(path):
            return Cause(f"{path} still holds {', '.join(held[:5])}{' …' if len(held) > 5 else ''}", f"ls -A {path}", "rmdir(2)")
    return None


def other_filesystem(asked: Asked) -> Cause | None:
    """EXDEV: a name cannot be moved to another filesystem, nor across a bind mount."""
    places = [facts.mount_of(path) for path in asked.paths()]
    said = [
        f"{path} is in the mount {place.target} ({place.fstype})"
        for path, place in zip(asked.paths(), places, strict=True)
        if place
    ]
    return Cause("; ".join(said) + ": copy it instead", "findmnt -T PATH", "rename(2)") if len(said) > 1 else None
