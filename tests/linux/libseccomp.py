"""The engines' own compiler of filters, libseccomp, fed as runc feeds it: an independent judge of ours."""

import ctypes
import os
from collections.abc import Iterable
from typing import Any

from tests.linux.bpf_machine import ARCH

try:
    _library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    _library.seccomp_init.restype = ctypes.c_void_p
except OSError:
    _library = None  # type: ignore[assignment]

THERE = _library is not None

_ACTIONS = {"SCMP_ACT_ALLOW": 0x7FFF0000, "SCMP_ACT_ERRNO": 0x00050000}
_COMPARES = {f"SCMP_CMP_{word}": number for number, word in enumerate(["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"], 1)}
_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
_CAN_BE_ADDED_TWICE = (0, -17)  # EEXIST: the same rule is there


class _Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def compiled(profile: dict[str, Any], machine: str, capabilities: Iterable[str]) -> bytes:
    """A profile in docker's format as struct sock_filter, for one machine and a container with these capabilities."""
    otherwise = _action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    context = ctypes.c_void_p(_library.seccomp_init(ctypes.c_uint32(otherwise)))
    native = os.uname().machine
    if machine != native:
        assert _library.seccomp_arch_add(context, ctypes.c_uint32(ARCH[machine])) == 0
        assert _library.seccomp_arch_remove(context, ctypes.c_uint32(ARCH[native])) == 0
    for entry in profile["syscalls"]:
        action = _action(entry["action"], entry.get("errnoRet"))
        if action != otherwise and _applies(entry, _GO_NAMES[machine], set(capabilities)):
            _add(context, entry, action)
    code = _exported(context)
    _library.seccomp_release(context)
    return code


def _action(word: str, errno: int | None) -> int:
    return _ACTIONS[word] | ((1 if errno is None else errno) if word == "SCMP_ACT_ERRNO" else 0)


def _applies(entry: dict[str, Any], arch: str, capabilities: set[str]) -> bool:
    includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
    if includes.get("arches") and arch not in includes["arches"] or arch in excludes.get("arches", ()):  # noqa: RUF021
        return False
    return capabilities >= set(includes.get("caps", ())) and not capabilities & set(excludes.get("caps", ()))


def _add(context: Any, entry: dict[str, Any], action: int) -> None:
    conditions = [_Compare(a["index"], _COMPARES[a["op"]], a["value"], a.get("valueTwo", 0)) for a in entry.get("args") or []]
    together = len({each.arg for each in conditions}) == len(conditions)
    for name in entry["names"]:
        number = _library.seccomp_syscall_resolve_name(name.encode())
        for group in ([conditions] if together else [[each] for each in conditions]) if number != -1 else []:
            array = (_Compare * len(group))(*group)
            result = _library.seccomp_rule_add_array(context, ctypes.c_uint32(action), number, len(group), array)
            assert result in _CAN_BE_ADDED_TWICE, (name, result)


def _exported(context: Any) -> bytes:
    fd = os.memfd_create("filter")
    try:
        assert _library.seccomp_export_bpf(context, fd) == 0
        return os.pread(fd, 1 << 20, 0)
    finally:
        os.close(fd)
