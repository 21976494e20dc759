"""A prediction: answered before the run, and set beside the kernel's answer afterwards."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scratchlab.display import UNATTENDED as UNATTENDED
from scratchlab.errors import InputError

Told = Callable[[bool], object]  # hears whether a guess was right


def unattended() -> bool:
    """Whether nobody is there to answer: a test, which says so in the environment, or a script."""
    if os.environ.get(UNATTENDED):
        return True
    return not (in_notebook() or hasattr(sys, "ps1") or sys.flags.interactive)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, and not merely one that has imported a part of Jupyter."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class Prediction:
    """A question with options. Each option stands for a value that the kernel might give.

    Where nobody is there to answer, the first option is taken: it is what most books lead one to believe.
    """

    def __init__(self, question: str, options: Mapping[str, Any] | Sequence[str], told: Told = lambda _: None) -> None:
        self.question = question
        self.options = dict(options) if isinstance(options, Mapping) else {text: text for text in options}
        if len(self.options) < 2:
            raise InputError(f"{question!r} has {len(self.options)} options", "a guess needs at least two")
        self._told = told
        self.guess = next(iter(self.options)) if unattended() else ""

    def choose(self, number: int) -> "Prediction":
        """Guess, by the number of an option."""
        if not (isinstance(number, int) and 1 <= number <= len(self.options)):
            raise InputError(f"there is no option {number!r}", f"choose 1 to {len(self.options)}")
        self.guess = list(self.options)[number - 1]
        return self

    def reveal(self, value: Any) -> "Revealed":
        """Set the guess beside what the kernel said. Raises InputError before a guess is made, and for no known answer."""
        if not self.guess:
            raise InputError(
                "you have not guessed yet", "click an option above, or say guess.choose(1); a wrong guess costs nothing"
            )
        said = [text for text, meant in self.options.items() if meant == value]
        if not said:
            raise InputError(f"the kernel says {value!r}, and no option stands for that", "run the lesson from its start")
        self._told(self.guess == said[0])
        return Revealed(self.guess, said[0])

    def __repr__(self) -> str:
        rows = [f"  {number}  {text}" for number, text in enumerate(self.options, 1)]
        return "\n".join([self.question, *rows])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        plain = {"text/plain": repr(self)}
        return plain if unattended() or not in_notebook() else {**self._buttons(), **plain}

    def _buttons(self) -> dict[str, Any]:
        """The options to click. A front end without widgets shows them as text, and `choose` does the same."""
        import ipywidgets

        chosen = list(self.options).index(self.guess) if self.guess else None
        choice = ipywidgets.RadioButtons(options=list(self.options), index=chosen, layout={"width": "max-content"})
        choice.observe(lambda change: self.choose(change["new"] + 1), "index")
        question = ipywidgets.HTML()
        question.value = f"<b>{_escaped(self.question)}</b>"
        shown: dict[str, Any] = ipywidgets.VBox([question, choice])._repr_mimebundle_()
        return shown


class Revealed:
    """A guess beside the kernel's answer."""

    def __init__(self, guess: str, kernel: str) -> None:
        self.guess, self.kernel = guess, kernel

    @property
    def right(self) -> bool:
        """Whether they agree."""
        return self.guess == self.kernel

    def __repr__(self) -> str:
        return f"guess    {self.guess}\nkernel   {self.kernel}" + ("" if self.right else "   ← look again")


def _escaped(text: str) -> str:
    from html import escape

    return escape(text)
