"""Name servers for a process in a network of its own: the host's, but for those that only the host can reach."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import NamedTuple

from scratchlab import linux
from scratchlab.errors import KernelError, StageError
from scratchlab.linux.ledger import look
from scratchlab.stages.stage import inside
from scratchlab.stages.subnets import parse_address

# The first is what programs read. Where it names only a local forwarder, systemd-resolved tells the real ones in the second.
SOURCES = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")


class Resolv(NamedTuple):
    """What programs in the sandbox are told about name servers."""

    nameservers: tuple[str, ...]
    mounted: bool  # False where the root filesystem has no /etc/resolv.conf to mount on


@inside("resolv.conf(5)", "mount(2)", shell="mount --bind FILE ROOTFS/etc/resolv.conf", engine="docker run --dns", needs=("mnt",))
def resolv(nameservers: Sequence[str] = (), root: str = "/") -> Resolv:
    """Name servers that work from a network of your own, without a change to the root filesystem.  resolv.conf(5)"""
    servers = tuple(str(parse_address(server)) for server in nameservers) or host_nameservers()
    refuse_shared_mounts()
    text = "".join(f"nameserver {server}\n" for server in servers)
    try:
        with opened(root, "etc/resolv.conf") as place:
            _mount_file(text, place, root)
    except KernelError as error:
        if (error.call, error.errno) != ("openat2", errno.ENOENT):
            raise
        return Resolv(servers, mounted=False)
    return Resolv(servers, mounted=True)


def host_nameservers() -> tuple[str, ...]:
    """The host's name servers that can be reached from another network namespace, or none.  resolv.conf(5)"""
    for source in SOURCES:
        with suppress(FileNotFoundError), open(source, errors="replace") as stream:
            if servers := reachable(stream.read()):
                return servers
    return ()


def reachable(text: str) -> tuple[str, ...]:
    """The name servers in a resolv.conf, without loopback ones: 127.0.0.53 is the host's, and here nobody listens."""
    words = [line.split() for line in text.splitlines()]
    servers = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]
    return tuple(server for server in servers if _means_the_same_here(server))


def _means_the_same_here(server: str) -> bool:
    try:
        # fe80::1%eth0 names a link of the host, and has no meaning here either.
        return "%" not in server and not ip_address(server).is_loopback
    except ValueError:  # no address: what reads the file passes over such a line
        return False


def refuse_shared_mounts() -> None:
    """Raise StageError where the host would see what is mounted here, and get these name servers too."""
    path = "/proc/self/mountinfo"
    with look("open", {"pathname": path}, lambda: open(path, errors="surrogateescape")) as mounts:
        if any(" shared:" in line.partition(" - ")[0] for line in mounts):
            raise StageError(
                "the mounts here are shared with the host, and it would get these name servers", "apply private_mounts first"
            )


@contextmanager
def opened(root: str, path: str) -> Iterator[str]:
    """A place in a root filesystem, as a path that leads straight to it.  openat2(2)

    Symbolic links on the way are followed as they will be once it is the root: `/run` is ROOT/run, not the host's.
    """
    directory = linux.paths.open_root(root)
    try:
        fd = linux.paths.open_inside(directory, path, os.O_PATH)
    finally:
        os.close(directory)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _mount_file(text: str, place: str, root: str) -> None:
    """Mount a file of this text on `place`.

    A tmpfs covers /etc for this moment to lend the file. After that no path leads to it, and the kernel keeps it for as
    long as its one file is mounted. A memfd would be simpler, but is on no mount that could be bound.  tmpfs(5)
    """
    with opened(root, "etc") as etc:
        linux.mount("tmpfs", etc, "tmpfs", linux.Mount.NOSUID | linux.Mount.NODEV | linux.Mount.NOEXEC, "mode=755,size=64k")
    with opened(root, "etc") as lender:  # the same words lead to the tmpfs now
        try:
            file, flags = f"{lender}/resolv.conf", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
            usual = os.umask(0o022)
            fd = look("open", {"pathname": file}, lambda: os.open(file, flags, 0o644))
            os.umask(usual)
            os.write(fd, text.encode())
            os.close(fd)
            linux.mount(file, place, None, linux.Mount.BIND)
        finally:
            linux.umount2(lender, linux.Umount.DETACH)
