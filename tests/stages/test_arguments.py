"""Arguments of stages, told from their type hints before they travel: what is refused, in which words, and what is not."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from scratchlab import Sandbox, stages
from scratchlab.container import Container
from scratchlab.errors import InputError, StageError
from scratchlab.linux.netlink import check_name
from scratchlab.stages.arguments import check_value
from tests.conftest import needs_root

FITTING: list[tuple[object, Any]] = [
    (1, int),
    (1, float),
    (True, bool),
    ("a", str),
    (None, str | None),
    ([1, 2], Sequence[int]),
    ((), tuple[str, ...]),
    (("a", 1), tuple[str, int]),
    ({"a": [1]}, Mapping[str, Any]),
    (frozenset("a"), frozenset[str]),
    (object(), Any),
]
UNFIT: list[tuple[object, Any, str]] = [
    (1.5, int, "1.5 is not int"),
    (True, int, "True is not int"),
    ("1", int | None, "'1' is not int | None"),
    ([1], str, "is not str"),
    ("abc", Sequence[str], "'abc' is not Sequence"),
    (["a", 1], Sequence[str], "is not Sequence"),
    (("a",), tuple[str, int], "is not tuple"),
    ({1: "a"}, Mapping[str, str], "is not Mapping"),
    ("a\0b", str, "holds a NUL"),
    (["\ud800"], Sequence[str], "half a character"),
]


@pytest.mark.parametrize(("value", "hint"), FITTING)
def test_what_a_hint_allows_is_let_through(value: object, hint: Any) -> None:
    check_value("x", value, hint)


@pytest.mark.parametrize(("value", "hint", "said"), UNFIT)
def test_what_a_hint_does_not_allow_is_refused_in_its_words(value: object, hint: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        check_value("x", value, hint)

    assert said in caught.value.message and caught.value.message.startswith("x: ")


@needs_root
def test_a_stage_with_wrong_arguments_says_what_it_takes_and_the_sandbox_lives(box: Sandbox) -> None:
    wrong: list[tuple[Any, tuple[Any, ...], dict[str, Any], str]] = [
        (stages.hostname, (), {}, "missing a required argument: 'name'\n  hint: it is hostname(name: str, domain: str = '')"),
        (stages.hostname, (5,), {}, "hostname: name: 5 is not str"),
        (stages.cpu, (0.5, 1, 2), {}, "too many positional arguments\n  hint: it is cpu(share: float | str, period_us: int"),
        (stages.mask, ("/proc", None), {}, "mask: targets: None is not str"),
        (stages.rlimits, (), {"NOFILE": "many"}, "rlimits: limits: 'many' is not"),
        (stages.unshare_uts, (), {"self": 1}, "got an unexpected keyword argument 'self'"),
    ]
    for stage, args, kwargs, said in wrong:
        with pytest.raises(InputError) as caught:
            box.apply(stage, *args, **kwargs)
        assert said in str(caught.value)

    assert box.steps == []
    assert box.run("echo", "alive").out == "alive"


@needs_root
def test_a_learners_function_may_have_any_parameters(box: Sandbox) -> None:
    def act(stage: int, self: int) -> int:
        return stage + self

    assert box.apply(act, stage=1, self=2).value == 3


def test_a_container_with_wrong_fields_is_refused_before_anything_is_made() -> None:
    with pytest.raises(InputError, match="hostname: 5 is not str"):
        Container("/", ("true",), hostname=5).plan()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", ".", "..", "a" * 16, "ü" * 8, "a/b", "a:b", "a b", "%d", "à", "\udcff"])
def test_what_cannot_be_the_name_of_a_link_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot name a link"):
        check_name(name)


@needs_root
def test_what_the_kernel_would_refuse_with_a_riddle_is_refused_in_words(box: Sandbox) -> None:
    box.play([stages.step(each) for each in (stages.unshare_user, stages.unshare_net, stages.unshare_mount)])

    for stage, args, kwargs, said in [
        (stages.map_ids, (), {"outside": "auto", "count": 0}, "no ids: 0 from 0 inside, auto outside"),
        (stages.veth, (), {"inside": "%d"}, "'%d' cannot name a link"),
        (stages.bridge, (), {"subnet": "::/64"}, "'::/64' is not a subnet"),
        (stages.route, ("10.0.0.1", "::/0"), {}, "10.0.0.1 is of IPv4, and ::/0 of IPv6"),
        (stages.unshare_time, (), {"boottime": 10**400}, "has more than 64 bits"),
    ]:
        with pytest.raises((InputError, StageError)) as caught:
            box.apply(stage, *args, **kwargs)
        assert said in str(caught.value)


@needs_root
def test_a_clock_a_little_behind_is_set(box: Sandbox) -> None:
    box.apply(stages.unshare_time, monotonic=-1e-12, boottime=-0.5)

    assert [line.split()[1:] for line in box.run("cat", "/proc/self/timens_offsets").lines] == [["0", "0"], ["-1", "500000000"]]


@needs_root
def test_a_domain_name_that_is_no_text_can_be_looked_at(box: Sandbox) -> None:
    box.apply(stages.unshare_uts)
    box.apply(stages.hostname, "web", "\udcff")

    assert box.snapshot().domainname == "\udcff"
