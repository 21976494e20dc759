"""An exercise is one value: what is asked, how the kernel is asked about the answer, hints, and a solution of ours.

An answer is a function that the learner writes. It is never read: `observe` lets it do its work in a fresh sandbox and
writes down what the kernel says afterwards. Claims judge those facts, the foundation first; the first that does not hold
decides what is said, and which hints fit.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from scratchlab.errors import GoneError, ScratchlabError

Facts = Mapping[str, Any]
Answer = Callable[..., Any]

_PATIENCE = 60.0  # seconds for an answer's work: whoever forks and waits may wait for ever


class Claim(NamedTuple):
    """One thing that must hold of an answer."""

    says: str  # what must hold
    wrong: Callable[[Facts], str]  # what was seen instead, or "" where it holds
    hints: tuple[str, ...]  # from a question to the neighbourhood of the answer


class Exercise(NamedTuple):
    """A question whose answer is a function."""

    name: str
    answer: str  # what the learner calls the function
    ask: str
    observe: Callable[[Answer], Facts]
    claims: tuple[Claim, ...]
    solution: Answer

    def examine(self, answer: Answer | None) -> "Finding":
        """Let an answer do its work, and judge it by what the kernel says."""
        if not callable(answer):
            what = "is not there yet" if answer is None else f"is a {type(answer).__name__}, not a function"
            return Finding(self, -1, f"`{self.answer}` {what}")
        try:
            with _interrupted_after(_PATIENCE):
                facts = self.observe(answer)
        except GoneError:
            return Finding(self, -1, f"`{self.answer}` stopped: the process that it ran in has ended")
        except (ScratchlabError, OSError) as error:
            return Finding(self, -1, f"`{self.answer}` stopped: {error}")
        # Whatever a learner's function raises is an answer too, and gets a sentence in place of a traceback.
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return Finding(self, -1, f"`{self.answer}` stopped: {type(error).__name__}: {error}")
        for number, claim in enumerate(self.claims):
            if seen := claim.wrong(facts):
                return Finding(self, number, seen)
        return Finding(self, len(self.claims), "")


@contextmanager
def _interrupted_after(seconds: float) -> Iterator[None]:
    """Raise TimeoutError for what takes longer: it gets the signal of Ctrl-C, which sandboxes can take at any moment."""
    main, late = threading.main_thread(), threading.Event()

    def interrupt() -> None:
        late.set()
        signal.pthread_kill(main.ident or 0, signal.SIGINT)

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    if threading.current_thread() is main:  # no other thread gets signals
        timer.start()
    try:
        yield
    except KeyboardInterrupt:
        if late.is_set():
            raise TimeoutError(f"it did not come back within {seconds:g} seconds") from None
        raise
    finally:
        timer.cancel()


class Finding(NamedTuple):
    """How far an answer has come: the number of the first claim that does not hold, and what was seen."""

    exercise: Exercise
    number: int  # -1: nothing could be judged
    seen: str

    @property
    def done(self) -> bool:
        """Whether all claims hold."""
        return self.number == len(self.exercise.claims)

    @property
    def hints(self) -> tuple[str, ...]:
        """What may help from here."""
        if self.number < 0:
            return (f"Write a function called `{self.exercise.answer}`, run its cell, and look at what the message says.",)
        return () if self.done else self.exercise.claims[self.number].hints

    def __repr__(self) -> str:
        marks = [
            "✓" if number < self.number else "✗" if number == self.number else "·" for number in range(len(self.exercise.claims))
        ]
        rows = [f"  {mark} {claim.says}" for mark, claim in zip(marks, self.exercise.claims, strict=True)]
        head = f"{self.exercise.name}: done" if self.done else f"{self.exercise.name}: not yet. {self.seen}"
        more = [] if self.done else [f'  stuck? lesson.hint("{self.exercise.name}")']
        return "\n".join([head, *rows, *more])
