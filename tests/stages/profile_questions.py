"""What tests ask a seccomp profile: every call, with arguments near all the borders of its rules."""

import itertools
from collections.abc import Iterator
from typing import Any

from scratchlab.linux import Cap, bpf
from scratchlab.linux.numbers import table
from scratchlab.stages.privileges import FEW
from scratchlab.stages.profiles import Facts, parse_profile
from tests.linux.bpf_machine import decide

ALLOWED = 0x7FFF0000

Question = tuple[str, tuple[int, ...]]


def named(capabilities: tuple[Cap, ...]) -> set[str]:
    return {f"CAP_{cap.name}" for cap in capabilities}


def code(profile: dict[str, Any], machine: str = "x86_64", capabilities: tuple[Cap, ...] = FEW) -> bytes:
    facts = Facts(machine, (6, 1), named(capabilities).__contains__)
    return bpf.assemble(bpf.program(parse_profile(profile, facts), machine))


def questions(*profiles: dict[str, Any]) -> list[Question]:
    """Every call of any machine, with arguments that matter to any of the profiles."""
    conditions: dict[str, list[Any]] = {}
    for entry in (entry for profile in profiles for entry in profile["syscalls"]):
        for name in entry["names"]:
            conditions.setdefault(name, []).extend(entry.get("args") or [])
    names = table("x86_64").keys() | table("aarch64").keys()
    return [(name, arguments) for name in names for arguments in _samples(conditions.get(name, []))]


def _samples(conditions: list[dict[str, int]]) -> Iterator[tuple[int, ...]]:
    values: dict[int, set[int]] = {index: {0} for index in range(6)}
    for condition in conditions:
        for border in (condition["value"], condition.get("valueTwo") or 0):
            values[condition["index"]] |= {border, border + 1, border | 1 << 32, (1 << 64) - 1}
    return itertools.product(*values.values())


def answers(program: bytes, machine: str, asked: list[Question]) -> dict[Question, int]:
    numbers = table(machine)
    return {(name, args): decide(program, machine, numbers[name], args) for name, args in asked if name in numbers}
