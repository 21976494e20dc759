"""A root filesystem from a distribution: mmdebstrap fetches and unpacks a minimal Debian.  mmdebstrap(1)

The packages come from where this machine's own come from: its apt sources, with its keys.
"""

import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from scratchlab.errors import HostError, InputError
from scratchlab.rootfs import skeleton
from scratchlab.rootfs.build import Progress

# Suites without point releases, which have no updates or security archives beside them.
_ROLLING = {"sid", "unstable"}


def fill(root: Path, progress: Progress, suite: str | None = None) -> None:
    """Unpack the smallest Debian of `suite` into the empty directory `root`. Raises HostError, InputError."""
    own = _os_release("/etc/os-release").get("VERSION_CODENAME", "stable")
    suite = suite or own
    if not re.fullmatch(r"[a-z][a-z0-9.-]*", suite):
        raise InputError(f"{suite!r} cannot be the name of a suite", "such as bookworm, trixie, stable or sid")
    if not shutil.which("mmdebstrap"):
        raise HostError("mmdebstrap is not installed on this machine", "apt-get install mmdebstrap")
    if os.geteuid() != 0:
        raise HostError("only root can unpack packages with all their owners", "use sudo, or --from host or busybox")
    _mmdebstrap(root, suite, apt_sources(_source_files(), own, suite), progress)
    (root / "etc/hostname").unlink(missing_ok=True)  # mmdebstrap put this machine's name there
    skeleton.lay(root, "debian")


def apt_sources(texts: Iterable[str], own: str, suite: str) -> str:
    """This machine's apt sources for its own release, with `suite` in its place; other archives are left out.

    Understands both notations: `deb URI SUITE COMPONENT…` lines, and paragraphs of `Name: value`.  sources.list(5)
    """
    # bookworm, bookworm-updates, bookworm-security; but not nodistro or cloud-sdk-bookworm, which are somebody else's.
    pattern = re.compile(rf"(?<![\w./-]){re.escape(own)}{'' if suite in _ROLLING else '(-updates|-security)?'}(?![\w./-])")
    kept = []
    for text in texts:
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        deb822 = any(re.match(r"Types:.*\bdeb\b", line) for line in lines)
        entries = "\n".join(lines).split("\n\n") if deb822 else lines
        kept += [changed for entry in entries if (changed := _for_suite(entry, pattern, own, suite))]
    return "\n\n".join(kept)


def _for_suite(entry: str, pattern: re.Pattern[str], own: str, suite: str) -> str:
    """One entry of apt's sources, with its suites renamed, or '' if none of them is ours."""
    line = re.match(r"deb (?:\[.*?\] )?\S+ (\S+) ", entry)
    field = re.search(r"^Suites:(.*)$", entry, re.MULTILINE)
    disabled = re.search(r"^Enabled: *no", entry, re.MULTILINE)
    match = line or field
    if not match or disabled:
        return ""
    suites = [found[0].replace(own, suite, 1) for found in pattern.finditer(match[1])]
    return entry[: match.start(1)] + " " * bool(field) + " ".join(suites) + entry[match.end(1) :] if suites else ""


def _mmdebstrap(root: Path, suite: str, sources: str, progress: Progress) -> None:
    # Its own pid and mount namespace: when the first process of it dies, the kernel kills the others and takes the mounts
    # away. So after `kill` nothing works on the directory that is about to be removed.  pid_namespaces(7)
    command = [
        "unshare", "--mount", "--pid", "--mount-proc", "--kill-child",
        "mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory",
        # No fsync after each package: until the rename, a crash of the machine loses nothing that anybody has.
        "--dpkgopt=force-unsafe-io",
        "--", suite, str(root),
    ]  # fmt: skip
    # Without sources of this release, mmdebstrap has a default of its own.
    command += ["-"] if sources else []
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stdin and process.stderr
    try:
        process.stdin.write(sources)
        process.stdin.close()
        said = _follow(process.stderr, progress)
        if process.wait():
            raise HostError(f"mmdebstrap could not make a {suite} (exit status {process.returncode})", "\n  ".join(said))
    finally:
        process.kill()
        process.wait()
        # Held by every process that mmdebstrap started: at its end they are all gone.
        process.stderr.read()


def _follow(stderr: Iterable[str], progress: Progress) -> list[str]:
    """Tell `progress` each thing that mmdebstrap begins. Gives its last words, for an error."""
    last: deque[str] = deque(maxlen=12)
    for line in stderr:
        last.append(line.rstrip())
        if line.startswith("I: "):
            progress(line[3:].strip().rstrip("."), None)
    return [line for line in last if line.startswith("E:")] or list(last)


def _source_files() -> list[str]:
    parts = Path("/etc/apt/sources.list.d")
    files = [Path("/etc/apt/sources.list"), *sorted(parts.glob("*.list")), *sorted(parts.glob("*.sources"))]
    return [file.read_text() for file in files if file.is_file()]


def _os_release(path: str) -> dict[str, str]:
    lines = Path(path).read_text().splitlines() if os.path.exists(path) else []
    return {name: value.strip("\"'") for name, _, value in (line.partition("=") for line in lines)}
