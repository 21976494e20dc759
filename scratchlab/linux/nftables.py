"""The packet filter: commands in the words of nft(8), done by its own library.  libnftables(3)

    run('''
        create table ip scratchlab-web
        add chain ip scratchlab-web forward { type filter hook forward priority filter; }
        add rule ip scratchlab-web forward oifname "veth-web" drop
    ''')

All commands of one `run` are one transaction: either everything is done, or nothing. A table's name may come with its
family, `ip scratchlab-web`; nft takes `ip` where it does not.
"""

import ctypes
import errno
import functools
import json
import os
import re
import socket
import struct
from typing import Any

from scratchlab.errors import HostError, InputError, KernelError
from scratchlab.linux.ledger import record

_HANDLE_OUTPUT, _JSON_OUTPUT = 1 << 3, 1 << 4  # NFT_CTX_OUTPUT_…


def run(commands: str) -> str:
    """Do nft commands in one transaction, and give what they print. Raises KernelError or InputError with nft's words."""
    return _in_context(commands)


def listed(table: str) -> str:
    """A table as nft prints it: what is really set.  nft(8)"""
    return run(f"list table {table}")


def with_handles(table: str) -> str:
    """A table as nft prints it, each line with the number that the kernel knows it by.  nft(8)"""
    return _in_context(f"list table {table}", output=_HANDLE_OUTPUT)


def rules(table: str) -> list[dict[str, Any]]:
    """A table with its chains and rules as data.  libnftables-json(5)"""
    found: list[dict[str, Any]] = json.loads(_in_context(f"list table {table}", output=_JSON_OUTPUT))["nftables"]
    return [entry for entry in found if "metainfo" not in entry]


def tables() -> list[str]:
    """Every table that holds a chain, in this network namespace, with its family: `ip scratchlab-web`."""
    # Not `list tables`: nft 1.0.6 reads every rule on the machine for that, 20 times as long.
    lines = run("list chains").splitlines()
    return [line.removeprefix("table ").removesuffix(" {") for line in lines if line.startswith("table ")]


def forward_drops() -> list[str]:
    """Tables of others that drop what is forwarded unless a rule of theirs lets it: ours cannot overrule them.  nft(8)"""
    dropping, table = [], ""
    for line in run("list chains").splitlines():
        if line.startswith("table "):
            table = line.removeprefix("table ").removesuffix(" {")
        elif "hook forward" in line and "policy drop" in line:
            dropping.append(table)
    return dropping


def remove_table(name: str, comment: str) -> None:
    """Remove a table with all that is in it, if it bears our comment. It may be gone already.  nft(8)"""
    if not re.fullmatch(r"([a-z]+ )?scratchlab[\w.-]*", name, re.ASCII):  # what is not a name would be a command
        raise InputError(f"{name!r} is not a table of ours")
    try:
        found = listed(name)
    except HostError:  # the library has gone since; then nobody can say what is there
        return
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return
        raise
    if f'comment "{comment}"' in found:
        _in_context(f"delete table {name}", linger=True)


def available() -> bool:
    """Whether this machine has the library, and the kernel lets us use it."""
    try:
        _in_context("add table ip scratchlab", dry_run=True)
    except (HostError, KernelError):
        return False
    return True


# -- libnftables ------------------------------------------------------------------------------------------------------


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError:
        raise HostError(
            "libnftables.so.1 is not on this machine: no NAT, and no ports published by the kernel",
            "install it (Debian: apt install nftables), or leave out nat and input_drop: a process then carries published ports",
        ) from None
    library.nft_ctx_new.restype = ctypes.c_void_p
    # Without these, ctypes would cut the pointer to 32 bits.
    for name in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        function = getattr(library, name)
        function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_char_p
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.nft_ctx_set_dry_run.argtypes = [ctypes.c_void_p, ctypes.c_bool]
    return library


_lingering: list[ctypes.c_void_p] = []


def _in_context(commands: str, output: int = 0, dry_run: bool = False, linger: bool = False) -> str:
    """Do commands in a context of their own: it is a socket, and belongs to one process and one network namespace."""
    library = _library()
    context = ctypes.c_void_p(library.nft_ctx_new(0))
    library.nft_ctx_buffer_output(context)
    library.nft_ctx_buffer_error(context)
    library.nft_ctx_output_set_flags(context, output)
    library.nft_ctx_set_dry_run(context, dry_run)
    try:
        return _do(library, context, commands)
    finally:
        # The kernel lets nobody close such a socket until what was deleted is destroyed, 10 ms later. So the one that
        # deletes is closed after the next.
        _lingering.append(context)
        while len(_lingering) > linger:
            library.nft_ctx_free(_lingering.pop(0))


# struct nlmsghdr and struct nfgenmsg: NFT_MSG_GETGEN of subsystem NFTABLES.  linux/netfilter/nf_tables.h
_GET_GENERATION = struct.pack("=IHHIIBBH", 20, 10 << 8 | 16, 1, 0, 0, 0, 0, 0)
_NETLINK_NETFILTER, _NLMSG_ERROR = 12, 2


def _ask_kernel() -> None:
    """Ask which generation of rules this is. Where that is refused, the library says so on our standard error, not to us."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as kernel:
        kernel.send(_GET_GENERATION)
        answer = kernel.recv(4096)
    (kind,) = struct.unpack_from("=H", answer, 4)
    if kind == _NLMSG_ERROR:
        (number,) = struct.unpack_from("=i", answer, 16)
        raise OSError(-number, "nft")


def _do(library: ctypes.CDLL, context: ctypes.c_void_p, commands: str) -> str:
    words = ""

    def act() -> None:
        nonlocal words
        _ask_kernel()
        if library.nft_run_cmd_from_buffer(context, os.fsencode(commands)):
            words = library.nft_ctx_get_error_buffer(context).decode(errors="replace").strip()
            _raise(words)

    try:
        record("nft", {"commands": commands.strip()}, act)
    except KernelError as error:
        cause = error.hint or f"nft says: {words}"
        raise KernelError(error.call, error.arguments, error.errno or 0, cause) from None
    return str(library.nft_ctx_get_output_buffer(context).decode(errors="replace"))


def _raise(words: str) -> None:
    # The library's errno may be left over from something that went well; its words are what it means.
    number = next((number for number in errno.errorcode if os.strerror(number) in words), 0)
    if number:
        raise OSError(number, words)
    raise InputError(f"nft: {words}", "the commands are those of nft(8)")
