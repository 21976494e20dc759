"""How much is tried, and what every try must come to.

    SCRATCHLAB_FUZZ=10 ./lab test tests/fuzz     ten times the examples, and other ones each time

Without it the examples are the same in every run. What fails is kept in .hypothesis, and is tried first the next time.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from scratchlab.errors import ScratchlabError

MORE = int(os.environ.get("SCRATCHLAB_FUZZ", "0"))
PATIENCE = 60  # seconds after which an example is taken to hang


def examples(count: int) -> settings:
    """So many examples, or as many times more as the switch says. A `@given` test is decorated with it."""
    return settings(
        max_examples=count * max(MORE, 1),
        derandomize=not MORE,
        print_blob=bool(MORE),
        deadline=None,
        suppress_health_check=list(HealthCheck),  # the kernel is slow, and our fixtures are for all examples
    )


def outcome(act: Callable[..., Any], *arguments: Any) -> Any:
    """What `act` gives, or the error of ours that it raises. Whatever else it raises, and a hang, fails the test."""
    with in_time():
        try:
            return act(*arguments)
        except ScratchlabError as error:
            assert error.message
            return error


@contextmanager
def in_time() -> Iterator[None]:
    """Fail what hangs: it would never say so itself.  setitimer(2)"""

    def give_up(*_: object) -> None:
        raise AssertionError(f"not done in {PATIENCE} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# -- text -------------------------------------------------------------------------------------------------------------

# As the kernel hands over names: bytes that are no UTF-8 come as lone surrogates.  os.fsdecode
any_text = st.text(max_size=40) | st.binary(max_size=40).map(os.fsdecode)
LONG = "9" * 5000  # more digits than int() takes
TROUBLE = ["", " ", "\n", "\t", "\0", ":", "/", "-", ",", "=", "(", ")", "\\", "\\777", "\ud800", "\udcff", "٣", "-1", "0x", LONG]


@st.composite
def damaged(draw: Callable[..., Any], valid: st.SearchStrategy[str]) -> str:
    """Valid text with up to four pieces cut out, replaced or put in."""
    text: str = draw(valid)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        put = draw(st.sampled_from(TROUBLE) | st.text(max_size=3))
        text = text[:at] + put + text[at + draw(st.integers(0, 8)) :]
    return text


@st.composite
def damaged_bytes(draw: Callable[..., Any], valid: st.SearchStrategy[bytes]) -> bytes:
    """Valid bytes, likewise."""
    data: bytes = draw(valid)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=8)) + data[at + draw(st.integers(0, 8)) :]
    return data


numbers = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 1 << 63, 1 << 64])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
