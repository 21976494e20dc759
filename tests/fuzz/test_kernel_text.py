"""The kernel's text, valid, damaged and arbitrary: each parser gives a value or an error of ours, and never hangs.

How much is tried, and how to try more: profile.py.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlab import linux
from scratchlab.errors import InputError
from scratchlab.linux import Cap, cgroup_v1, proc, rtnetlink
from scratchlab.linux.cgroup_files import table
from scratchlab.linux.proc import IdMap, Limit, Membership, MountPoint, Stat
from scratchlab.stages.disks import Rate
from scratchlab.stages.dns import reachable
from tests.fuzz.profile import any_text, damaged, examples, outcome


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the one in conftest.py: nothing here does more than compute."""


# -- what the kernel could write --------------------------------------------------------------------------------------

count = st.integers(0, 1 << 32)
path = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20).map(lambda text: f"/{text}")
# No separators: a word is what stands between them.
word = st.text(
    st.characters(exclude_characters="\0 \n\t\r:,()[]-=", exclude_categories=["Cs", "Z", "Cc"]), min_size=1, max_size=9
)
propagation = st.sampled_from(["private", "shared:1", "master:2", "shared:3 master:2", "unbindable"])
mounts = st.builds(MountPoint, count, count, word, path, path, word, propagation, word, path, word)
stats = st.builds(Stat, count, st.text(max_size=15), st.sampled_from("RSDZTtX"), count, count, count, count, count, count)
memberships = st.builds(
    Membership, count, st.lists(word, max_size=3).map(tuple), path.filter(lambda text: "\n" not in text)
)  # fmt: skip
limits = st.dictionaries(
    st.sampled_from(list(proc.RLIMITS)), st.builds(Limit, count.map(str), st.just("unlimited")), max_size=16
)  # fmt: skip


def escaped(text: str) -> str:
    """As the kernel writes a path in mountinfo.  fstab(5)"""
    return "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in text)


def mount_line(mount: MountPoint) -> str:
    fields = [] if mount.propagation == "private" else [mount.propagation]
    before = [mount.mount_id, mount.parent_id, mount.device, escaped(mount.root), escaped(mount.target), mount.options, *fields]
    return " ".join(map(str, [*before, "-", mount.fstype, escaped(mount.source), mount.super_options]))


def stat_line(stat: Stat) -> str:
    """Fields 1 to 24, of which those that nobody reads are 0."""
    pid, comm, *numbers, flags, threads, start = stat
    return " ".join(map(str, [pid, f"({comm})", *numbers, 0, 0, flags, *[0] * 10, threads, 0, start, 0, 0]))


def limit_lines(held: dict[str, Limit]) -> str:
    rows = [f"{name:26}{limit.soft:21}{limit.hard:21}units" for name, limit in held.items()]
    return "\n".join(["Limit                     Soft Limit           Hard Limit           Units", *rows])


def id_map_line(row: tuple[int, int, int]) -> str:
    return "{:10} {:10} {:10}".format(*row)


lines = {
    "mountinfo": st.lists(mounts.map(mount_line), max_size=3).map("\n".join),
    "status": st.just("Name:\tcat\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n"),
    "stat": stats.map(stat_line),
    "children": st.lists(count, max_size=4).map(lambda pids: " ".join(map(str, pids))),
    "limits": limits.map(limit_lines),
    "id_map": st.lists(st.tuples(count, count, count), max_size=3).map(lambda rows: "\n".join(map(id_map_line, rows))),
    "cgroup": st.just("4:cpu,cpuacct:/\n0::/user.slice\n"),
    "namespace": st.just("uts:[4026531838]"),
    "capabilities": st.integers(0, (1 << 64) - 1).map(lambda mask: f"{mask:016x}"),
    "io.max": st.just("254:0 rbps=max wbps=1048576 riops=max wiops=max\n"),
    "counters": st.just("oom 0\noom_kill 1\n"),
    "resolv.conf": st.just("search a\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver 127.0.0.53\n"),
}
PARSERS: dict[str, Callable[[str], Any]] = {
    "mountinfo": proc.parse_mountinfo, "status": proc.parse_status, "stat": proc.parse_stat, "children": proc.parse_children,
    "limits": proc.parse_limits, "id_map": proc.parse_id_map, "cgroup": proc.parse_cgroup, "namespace": proc.parse_namespace,
    "capabilities": proc.parse_capabilities, "io.max": Rate.first, "counters": table, "resolv.conf": reachable,
}  # fmt: skip


@pytest.mark.parametrize("what", PARSERS)
@given(data=st.data())
@examples(150)
def test_each_parser_gives_a_value_or_says_which_line_is_wrong(what: str, data: st.DataObject) -> None:
    outcome(PARSERS[what], data.draw(damaged(lines[what]) | any_text))


# -- what was written is read -----------------------------------------------------------------------------------------


@given(st.lists(mounts, max_size=4))
@examples(150)
def test_mounts_are_read_as_they_are(found: list[MountPoint]) -> None:
    assert proc.parse_mountinfo("\n".join(map(mount_line, found))) == found


@given(stats)
@examples(150)
def test_a_process_is_read_as_it_is_whatever_its_program_is_called(stat: Stat) -> None:
    assert proc.parse_stat(stat_line(stat)) == stat


@given(limits)
@examples(100)
def test_limits_are_read_as_they_are(held: dict[str, Limit]) -> None:
    assert proc.parse_limits(limit_lines(held)) == {proc.RLIMITS[name]: limit for name, limit in held.items()}


@given(st.lists(st.builds(IdMap, count, count, count)))
@examples(100)
def test_id_maps_are_read_as_they_are(maps: list[IdMap]) -> None:
    assert proc.parse_id_map("\n".join(map(id_map_line, maps))) == maps


@given(st.lists(memberships))
@examples(100)
def test_control_groups_are_read_as_they_are(groups: list[Membership]) -> None:
    text = "".join(f"{group.hierarchy}:{','.join(group.controllers)}:{group.path}\n" for group in groups)

    assert proc.parse_cgroup(text) == groups


@given(st.sets(st.sampled_from(Cap)))
@examples(100)
def test_capabilities_are_read_as_they_are(held: set[Cap]) -> None:
    assert proc.parse_capabilities(f"{linux.mask(held):016x}") == tuple(cap.name for cap in sorted(held))


# -- version 1 by version 2's names -----------------------------------------------------------------------------------

amounts = st.integers(1, 1 << 40)
settings = st.one_of(
    st.tuples(st.just("cpu.max"), st.tuples(amounts | st.just("max"), amounts).map(lambda pair: f"{pair[0]} {pair[1]}")),
    st.tuples(st.just("memory.max"), amounts.map(str) | st.just("max")),
    st.tuples(st.just("pids.max"), amounts.map(str) | st.just("max")),
)


@given(settings)
@examples(150)
def test_a_limit_reads_as_it_was_set_in_version_1_too(setting: tuple[str, str]) -> None:
    knob, value = setting
    files = dict(cgroup_v1.to_v1(knob, value, lambda _: ""))
    if files.get("memory.limit_in_bytes") == "-1":
        files["memory.limit_in_bytes"] = "9223372036854771712"  # what the kernel makes of -1

    assert cgroup_v1.from_v1(knob, lambda name: files.get(name, "")) == value


V1 = {name: text for knob in ("cpu.max", "cpu.stat", "memory.max", "memory.events", "io.max", "io.stat")
      for name, text in dict.fromkeys(cgroup_v1.files(knob), "").items()}  # fmt: skip


@pytest.mark.parametrize("knob", ["cpu.max", "cpu.stat", "memory.max", "memory.events", "memory.current", "io.max", "io.stat"])
@given(
    text=damaged(st.sampled_from(["254:0 1048576\n", "20000", "throttled_time 5000\nnr_periods 1", "254:0 Read 1\nTotal 1\n"]))
)
@examples(60)
def test_files_of_version_1_give_a_value_or_an_error_of_ours(knob: str, text: str) -> None:
    outcome(cgroup_v1.from_v1, knob, lambda _name: text)


# -- bytes from netlink -----------------------------------------------------------------------------------------------


@given(st.binary(max_size=80))
@examples(200)
def test_an_answer_of_netlink_that_is_cut_short_is_an_error_of_ours(answer: bytes) -> None:
    outcome(rtnetlink.verdict, answer)


@given(damaged(st.just("nameserver 10.0.0.1\nnameserver 10.0.0.2\n")))
@examples(100)
def test_a_wrong_line_in_resolv_conf_does_not_hide_the_right_ones(text: str) -> None:
    intact = [line for line in text.splitlines() if line in ("nameserver 10.0.0.1", "nameserver 10.0.0.2")]

    assert {line.split()[1] for line in intact} <= set(reachable(text))


def test_a_line_that_is_wrong_is_shown() -> None:
    for parser in (proc.parse_mountinfo, proc.parse_status, proc.parse_stat, proc.parse_id_map, proc.parse_cgroup):
        with pytest.raises(InputError, match="'wrong line'"):
            parser("wrong line")  # type: ignore[operator]
    assert os.fsdecode(b"\xff") in proc.parse_cgroup("0::/" + os.fsdecode(b"\xff"))[0].path
