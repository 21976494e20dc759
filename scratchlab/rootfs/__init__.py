"""Where a root filesystem comes from, and whether a given one can run a command."""

from scratchlab.rootfs.build import create, sources
from scratchlab.rootfs.check import CommandError, CommandNotExecutableError, CommandNotFoundError, check_rootfs
from scratchlab.rootfs.contents import Contents, contents, describe

__all__ = [
    "CommandError", "CommandNotExecutableError", "CommandNotFoundError", "Contents",
    "check_rootfs", "contents", "create", "describe", "sources",
]  # fmt: skip
