"""The filter's program: it decides as the rules say, for every comparison and both machines, and reads well."""

import operator
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlab.linux import bpf
from scratchlab.linux.bpf import ALLOW, Action, Compare, Condition, Filter, Rule, Verdict
from scratchlab.linux.numbers import MACHINES, table
from tests.linux.bpf_machine import decide

DENY = Action(Verdict.ERRNO, 1)
FOREIGN = Action(Verdict.ERRNO, 38)

# Near the borders of 32 and 64 bits, where a comparison by halves can go wrong.
words = st.one_of(
    st.integers(0, (1 << 64) - 1), st.sampled_from([0, 1, 7, (1 << 32) - 1, 1 << 32, (1 << 32) + 7, 7 << 32, (1 << 64) - 1])
)
conditions = st.builds(Condition, st.integers(0, 5), st.sampled_from(Compare), words, words)

MEANING = {
    Compare.NE: operator.ne,
    Compare.LT: operator.lt,
    Compare.LE: operator.le,
    Compare.EQ: operator.eq,
    Compare.GE: operator.ge,
    Compare.GT: operator.gt,
}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the one in conftest.py, which asks the machine twice for each test: nothing here touches the machine."""


def holds(condition: Condition, arguments: list[int]) -> bool:
    value = arguments[condition.argument]
    if condition.compare is Compare.MASKED_EQ:
        return value & condition.mask == condition.value & condition.mask
    return bool(MEANING[condition.compare](value, condition.value & condition.mask))


def answer(wanted: Filter, name: str, arguments: list[int], machine: str = "x86_64") -> int:
    return decide(bpf.assemble(bpf.program(wanted, machine)), machine, table(machine)[name], arguments)


@given(condition=conditions, arguments=st.lists(words, min_size=6, max_size=6), near=st.integers(-1, 1))
def test_a_condition_is_what_python_says_of_it(condition: Condition, arguments: list[int], near: int) -> None:
    condition = condition._replace(mask=condition.mask if condition.compare is Compare.MASKED_EQ else (1 << 64) - 1)
    for chosen in (arguments[condition.argument], (condition.value + near) % (1 << 64)):
        arguments[condition.argument] = chosen
        wanted = Filter({"read": [Rule((condition,), DENY)]}, ALLOW, FOREIGN)

        assert answer(wanted, "read", arguments) == (DENY if holds(condition, arguments) else ALLOW).answer


@given(
    rules=st.lists(st.tuples(st.lists(conditions, max_size=3), st.sampled_from([DENY, ALLOW, Action(Verdict.LOG)])), max_size=4),
    arguments=st.lists(words, min_size=6, max_size=6),
)
def test_of_several_rules_the_first_whose_conditions_all_hold_decides(
    rules: list[tuple[list[Condition], Action]], arguments: list[int]
) -> None:
    plain = [([c._replace(mask=(1 << 64) - 1) for c in found], action) for found, action in rules]
    wanted = Filter({"read": [Rule(tuple(found), action) for found, action in plain]}, Action(Verdict.TRAP), FOREIGN)
    expected = next((action for found, action in plain if all(holds(c, arguments) for c in found)), Action(Verdict.TRAP))

    assert answer(wanted, "read", arguments) == expected.answer


@given(names=st.sets(st.sampled_from(sorted(table("x86_64").keys() & table("aarch64").keys()))))
@pytest.mark.parametrize("machine", MACHINES)
def test_exactly_the_named_calls_are_refused(machine: str, names: set[str]) -> None:
    code = bpf.assemble(bpf.program(Filter({name: [Rule((), DENY)] for name in names}, ALLOW, FOREIGN), machine))

    refused = {name for name, number in table(machine).items() if decide(code, machine, number) == DENY.answer}
    assert refused == names
    assert {decide(code, machine, number) for number in (max(table(machine).values()) + 1, 0x3FFFFFFF)} == {ALLOW.answer}


@pytest.mark.parametrize(
    ("machine", "second", "number"), [("x86_64", "i386", 3), ("x86_64", "x86_64", 0x40000000), ("aarch64", "arm", 3)]
)
def test_the_second_table_of_a_machine_is_closed(machine: str, second: str, number: int) -> None:
    code = bpf.assemble(bpf.program(Filter({}, ALLOW, FOREIGN), machine))

    assert decide(code, second, number) == FOREIGN.answer
    assert decide(code, machine, 3) == ALLOW.answer


@pytest.mark.parametrize("skip", [0, 1, 254, 255, 256, 257, 1000])
def test_a_jump_arrives_however_far_it_is(skip: int) -> None:
    code = bpf.assemble(
        [bpf.load(16), *bpf.unless(bpf.Op.IF_EQUAL, 7, skip), *[bpf.answer(DENY)] * skip, bpf.answer(ALLOW), bpf.answer(FOREIGN)]
    )

    assert decide(code, "x86_64", 0, [7]) == (DENY if skip else ALLOW).answer
    assert decide(code, "x86_64", 0, [8]) == ALLOW.answer


def test_calls_with_many_rules_are_told_apart() -> None:
    many = [Rule((Condition(0, Compare.EQ, value),), DENY) for value in range(100)]
    wanted = Filter({"read": many, "write": many, "close": [Rule((), DENY)]}, ALLOW, FOREIGN)

    assert answer(wanted, "read", [99]) == answer(wanted, "write", [99]) == answer(wanted, "close", [0]) == DENY.answer
    assert answer(wanted, "read", [100]) == answer(wanted, "lseek", [99]) == ALLOW.answer


def test_an_instruction_is_eight_bytes_in_the_order_of_the_kernels_struct() -> None:
    assert bpf.assemble([bpf.load(4), bpf.answer(ALLOW)]) == struct.pack("HBBIHBBI", 0x20, 0, 0, 4, 0x06, 0, 0, 0x7FFF0000)


def test_a_listing_can_be_read() -> None:
    rule = Rule((Condition(1, Compare.MASKED_EQ, 0o4000, 0o4000), Condition(2, Compare.GE, 5)), DENY)
    lines = bpf.listing(bpf.program(Filter({"chmod": [rule]}, ALLOW, FOREIGN), "x86_64"), "x86_64")

    assert [line.strip() for line in lines] == [
        "0 A = arch",
        "1 if A == 0xc000003e goto 3 else 2",
        "2 return ERRNO(ENOSYS)",
        "3 A = nr",
        "4 if A >= 0x5b goto 5 else 8  (fchmod)",
        "5 if A >= 0x40000000 goto 6 else 7",
        "6 return ERRNO(ENOSYS)",
        "7 return ALLOW",
        "8 if A >= 0x5a goto 9 else 19  (chmod)",
        "9 A = lower half of args[1]",
        "10 A &= 0x800",
        "11 if A == 0x800 goto 12 else 18",
        "12 A = upper half of args[2]",
        "13 if A > 0x0 goto 17 else 14",
        "14 if A == 0x0 goto 15 else 18",
        "15 A = lower half of args[2]",
        "16 if A >= 0x5 goto 17 else 18",
        "17 return ERRNO(EPERM)",
        "18 return ALLOW",
        "19 return ALLOW",
    ]
