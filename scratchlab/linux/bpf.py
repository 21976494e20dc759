"""A seccomp filter: a small program that the kernel runs before each system call of a process.  seccomp(2), bpf(4)

The machine it is written for is older than Linux: the BSD packet filter, "classic BPF". It has one register A, and an
instruction is a code and three numbers. A jump only goes forward, so every program ends. Instead of a packet it looks at

    struct seccomp_data { int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6]; };

and what it returns is what becomes of the call. It cannot follow pointers: a path or a struct stays unseen.

A program here is a list of instructions. Because jumps are relative and go forward, a piece of program means the same
wherever it is put: bigger pieces are made by putting small ones after each other, and need no labels.
"""

import errno as errno_names
import os
import struct
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from scratchlab.linux.numbers import table

MOST_INSTRUCTIONS = 4096  # BPF_MAXINSNS: the kernel takes no longer program


class Instruction(NamedTuple):
    """One step of a program, struct sock_filter.  bpf(4)

    What to do; for a test, how many instructions to skip if it holds and if it does not; and a constant.
    """

    code: int
    if_true: int
    if_false: int
    k: int


Program = list[Instruction]


class Op(IntEnum):
    """The instructions that we use. A is the register, k the constant.  linux/bpf_common.h"""

    LOAD = 0x20  # A = the 32 bits at offset k of seccomp_data
    AND = 0x54  # A &= k
    JUMP = 0x05  # skip k
    IF_EQUAL = 0x15  # if A == k
    IF_GREATER = 0x25  # if A > k
    IF_GREATER_OR_EQUAL = 0x35  # if A >= k
    RETURN = 0x06  # k is the answer


class Verdict(IntEnum):
    """What becomes of a system call: the upper half of the answer. The lower half is an errno."""

    KILL_PROCESS = 0x80000000
    KILL_THREAD = 0x00000000
    TRAP = 0x00030000
    ERRNO = 0x00050000
    LOG = 0x7FFC0000
    ALLOW = 0x7FFF0000


class Action(NamedTuple):
    """A verdict, with the errno that the caller sees."""

    verdict: Verdict
    errno: int = 0

    @property
    def answer(self) -> int:
        """As the program returns it."""
        return self.verdict | self.errno

    def __repr__(self) -> str:
        return f"{self.verdict.name}({errno_names.errorcode.get(self.errno, self.errno)})" if self.errno else self.verdict.name


ALLOW = Action(Verdict.ALLOW)


class Compare(IntEnum):
    """How a condition looks at an argument; libseccomp's numbers.  seccomp_rule_add(3)"""

    NE = 1
    LT = 2
    LE = 3
    EQ = 4
    GE = 5
    GT = 6
    MASKED_EQ = 7


class Condition(NamedTuple):
    """What an argument of the call must be, all 64 bits of it; for MASKED_EQ, only those in `mask`."""

    argument: int  # counted from 0
    compare: Compare
    value: int
    mask: int = (1 << 64) - 1


class Rule(NamedTuple):
    """What to do with a call whose arguments fulfil all conditions."""

    conditions: tuple[Condition, ...]
    action: Action


class Filter(NamedTuple):
    """What to do with each call: the first rule that fits decides, or else `otherwise`."""

    rules: Mapping[str, Sequence[Rule]]  # by the call's name
    otherwise: Action
    second_abi: Action  # for calls by the machine's other table of numbers, which the rules do not mean


class Machine(NamedTuple):
    """How a machine's own table of numbers is known from the second one that its processor can also use."""

    arch: int  # AUDIT_ARCH_…: the second tables are i386's and 32-bit ARM's, which have another one.  linux/audit.h
    first_foreign: int = 1 << 32  # on x86_64, numbers from here on are x32's, with the same AUDIT_ARCH


MACHINES = {"x86_64": Machine(0xC000003E, 0x40000000), "aarch64": Machine(0xC00000B7)}

_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in seccomp_data


# -- small pieces -----------------------------------------------------------------------------------------------------


def load(offset: int) -> Instruction:
    """A = 32 bits of seccomp_data."""
    return Instruction(Op.LOAD, 0, 0, offset)


def answer(action: Action) -> Instruction:
    """The end: this is what becomes of the call."""
    return Instruction(Op.RETURN, 0, 0, action.answer)


def unless(test: Op, k: int, skip: int) -> Program:
    """Skip `skip` instructions unless the test holds."""
    if skip < 256:
        return [Instruction(test, 0, skip, k)]
    # The field has 8 bits. A jump of its own has 32.
    return [Instruction(test, 1, 0, k), Instruction(Op.JUMP, 0, 0, skip)]


def when(condition: Condition, body: Program) -> Program:
    """`body`, but only if the condition holds; else go on after it.

    A has 32 bits and an argument has 64, so the upper half is looked at first. Both machines store the lower half first.
    """
    _, compare, value, mask = condition
    low = load(_ARGUMENTS + 8 * condition.argument)
    high = load(low.k + 4)
    high_k, low_k = (value & mask) >> 32, value & mask & 0xFFFFFFFF
    after = len(body)
    if compare is Compare.MASKED_EQ:
        masks = [Instruction(Op.AND, 0, 0, half) for half in (mask >> 32, mask & 0xFFFFFFFF)]
        lower = [low, masks[1], Instruction(Op.IF_EQUAL, 0, after, low_k), *body]
        return [high, masks[0], Instruction(Op.IF_EQUAL, 0, len(lower), high_k), *lower] if mask >> 32 else lower
    if compare in (Compare.EQ, Compare.NE):
        hit, miss = (0, after) if compare is Compare.EQ else (after, 0)
        return [high, Instruction(Op.IF_EQUAL, 0, miss + 2, high_k), low, Instruction(Op.IF_EQUAL, hit, miss, low_k), *body]
    # The rest by two tests, > and >=; what is LE is not GT, and what is LT is not GE.
    test = Op.IF_GREATER if compare in (Compare.GT, Compare.LE) else Op.IF_GREATER_OR_EQUAL
    hit, miss = (0, after) if compare in (Compare.GT, Compare.GE) else (after, 0)
    above, equal = Instruction(Op.IF_GREATER, hit + 3, 0, high_k), Instruction(Op.IF_EQUAL, 0, miss + 2, high_k)
    return [high, above, equal, low, Instruction(test, hit, miss, low_k), *body]


# -- the program ------------------------------------------------------------------------------------------------------


def program(wanted: Filter, machine: str) -> Program:
    """The instructions that decide as `wanted` says, on this machine. Names that it does not know are passed over."""
    numbers = table(machine)
    arch, first_foreign = MACHINES[machine]
    pieces = {numbers[name]: decide(rules, wanted.otherwise) for name, rules in wanted.rules.items() if name in numbers}
    ranges = _ranges(pieces, [answer(wanted.otherwise)])
    if first_foreign < 1 << 32:
        ranges.append((first_foreign, [answer(wanted.second_abi)]))
    return [load(_ARCH), Instruction(Op.IF_EQUAL, 1, 0, arch), answer(wanted.second_abi), load(_NUMBER), *search(ranges)]


def decide(rules: Iterable[Rule], otherwise: Action) -> Program:
    """One call's rules, in order, from `A = number` to an answer."""
    made: Program = []
    for rule in rules:
        piece = [answer(rule.action)]
        for condition in reversed(rule.conditions):
            piece = when(condition, piece)
        made += piece
        if not rule.conditions:  # nothing comes after
            return made
    return [*made, answer(otherwise)]


def _ranges(pieces: Mapping[int, Program], otherwise: Program) -> list[tuple[int, Program]]:
    """From which number on which piece decides: neighbours that are answered alike are one range."""
    ranges: list[tuple[int, Program]] = []
    for number in range(max(pieces, default=0) + 2):
        piece = pieces.get(number, otherwise)
        if not ranges or ranges[-1][1] != piece:
            ranges.append((number, piece))
    return ranges


def search(ranges: Sequence[tuple[int, Program]]) -> Program:
    """Find the range of the number in A, by halves: a few tests instead of one for each call."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    lower, upper = search(ranges[:middle]), search(ranges[middle:])
    return [*unless(Op.IF_GREATER_OR_EQUAL, ranges[middle][0], skip=len(upper)), *upper, *lower]


def assemble(instructions: Program) -> bytes:
    """As the kernel wants it: struct sock_filter, 8 bytes each."""
    return b"".join(struct.pack("HBBI", *each) for each in instructions)


# -- to read ----------------------------------------------------------------------------------------------------------

_TESTS = {Op.IF_EQUAL: "==", Op.IF_GREATER: ">", Op.IF_GREATER_OR_EQUAL: ">="}
_FIELDS = {_NUMBER: "nr", _ARCH: "arch"}


def listing(instructions: Program, machine: str | None = None) -> list[str]:
    """The program in words, one line for each instruction, with the names of the calls where it compares numbers."""
    numbers = table(machine or os.uname().machine)
    names = sorted((number, name) for name, number in numbers.items())
    lines, register = [], ""
    for place, each in enumerate(instructions):
        register = _field(each.k) if each.code == Op.LOAD else register
        lines.append(f"{place:4} {_words(place, each, names if register == 'nr' else [])}")
    return lines


def _words(place: int, each: Instruction, names: list[tuple[int, str]]) -> str:
    code, if_true, if_false, k = each
    following = place + 1
    if code == Op.LOAD:
        return f"A = {_field(k)}"
    if code == Op.AND:
        return f"A &= {k:#x}"
    if code == Op.JUMP:
        return f"goto {following + k}"
    if code == Op.RETURN:
        return f"return {Action(Verdict(k & 0xFFFF0000), k & 0xFFFF)}"
    found = bisect_right(names, (k, chr(0x10FFFF))) - 1
    name = f"  ({names[found][1]})" if names and names[found][0] == k else ""
    return f"if A {_TESTS[Op(code)]} {k:#x} goto {following + if_true} else {following + if_false}{name}"


def _field(offset: int) -> str:
    argument, upper = divmod(offset - _ARGUMENTS, 8)
    return _FIELDS.get(offset) or f"{'upper' if upper else 'lower'} half of args[{argument}]"
