"""A false belief: what many think, a question about it, and the experiment in which the kernel says otherwise."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from scratchlab.lessons.predict import Prediction, Revealed, Told


class Belief(NamedTuple):
    """One false belief."""

    belief: str
    question: str
    options: Mapping[str, Any]  # text → what the experiment would return; the first is what the belief leads one to expect
    experiment: Callable[[], Any]


class Question(Prediction):
    """A belief's question; its reveal makes the experiment."""

    def __init__(self, belief: Belief, told: Told = lambda _: None) -> None:
        super().__init__(belief.question, belief.options, told)
        self.belief = belief

    def reveal(self, value: Any = None) -> Revealed:
        """Make the experiment, and set the guess beside what came of it."""
        return super().reveal(self.belief.experiment())
