"""What every root filesystem has besides programs: places to mount on, and the few files that libraries look for.  hier(7)

Nothing here is copied from the host's /etc. A container does not need to know the host's users, keys or name servers.
"""

import os
from pathlib import Path

# Created where missing, with these modes whatever the umask is.
DIRECTORIES = {
    "dev": 0o755, "etc": 0o755, "home": 0o755, "mnt": 0o755,
    "proc": 0o555, "sys": 0o555,     # only mounted on, never written to
    "root": 0o700, "run": 0o755,
    "tmp": 0o1777,                   # everybody writes, only owners remove: the sticky bit
    "usr": 0o755, "usr/bin": 0o755, "usr/sbin": 0o755, "usr/lib": 0o755,
    "usr/local": 0o755, "usr/local/bin": 0o755,
    "var": 0o755, "var/tmp": 0o1777,
}  # fmt: skip

FILES = {
    # Programs ask for names of ids here: `ls -l` prints root, not 0. The * is a password that nothing matches.
    "etc/passwd": "root:*:0:0:root:/root:/bin/sh\nnobody:*:65534:65534:nobody:/nonexistent:/bin/false\n",
    # Group 5 owns terminals: devpts is mounted with gid=5.
    "etc/group": "root:*:0:\ntty:*:5:\nnogroup:*:65534:\n",
    # Without it, glibc before 2.34 would ask for NIS as well; dns comes after the file, so localhost needs no server.
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n",
    "etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost\n",
    "etc/hostname": "container\n",
}

# Programs find these directories by both names since /bin and /usr/bin became one, on most distributions.
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


def merge_usr_as_on_host(root: Path) -> None:
    """Link /bin to usr/bin and so on, exactly where the host does."""
    for name in _MERGED:
        if os.path.islink(f"/{name}"):
            target = os.readlink(f"/{name}")
            os.symlink(target, root / name)
            make_directory(root / target.lstrip("/"))


def lay(root: Path, source: str) -> None:
    """Add the directories and files that are still missing, say in os-release what this is, and leave DNS open."""
    for name, mode in DIRECTORIES.items():
        make_directory(root / name, mode)
    for name, text in FILES.items():
        if not (root / name).exists():
            write(root / name, text)
    if not (root / "etc/os-release").exists():
        write(root / "etc/os-release", os_release(source))
    # Empty: a place to mount the name servers on, which are known only when the container starts.
    write(root / "etc/resolv.conf", "")
    if not os.path.lexists(root / "etc/mtab"):
        os.symlink("/proc/self/mounts", root / "etc/mtab")  # mount(8) and df(1) of busybox read it


def os_release(source: str) -> str:
    """Who made this system, for programs that ask.  os-release(5)"""
    return (
        'NAME="Scratchlab"\nID=scratchlab\n'
        f'PRETTY_NAME="Scratchlab root filesystem (from {source})"\nVARIANT_ID={source}\n'
    )  # fmt: skip


def make_directory(path: Path, mode: int = 0o755) -> None:
    """Make a directory and what is missing above it; the mode does not depend on the umask."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir()
    path.chmod(mode)


def write(path: Path, text: str) -> None:
    """Write a file that everybody may read, whatever the umask is."""
    # A link such as /etc/resolv.conf -> /run/… would lead out of the root filesystem, to the host's own file.
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o644)
