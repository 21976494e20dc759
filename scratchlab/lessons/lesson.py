"""A lesson as a notebook holds it: sandboxes, predictions, checks, hints, and a report at the end that nothing is left."""

import atexit
import inspect
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

from scratchlab import progress
from scratchlab.attacks import is_disposable, weaknesses
from scratchlab.errors import InputError, SandboxError
from scratchlab.lessons import beliefs
from scratchlab.lessons.beliefs import Question
from scratchlab.lessons.cases import Cases, by_disposal, by_version
from scratchlab.lessons.exercise import Exercise, Finding
from scratchlab.lessons.folder import Folder
from scratchlab.lessons.group import Group
from scratchlab.lessons.hosts import shared_host
from scratchlab.lessons.leaks import Before, Leaks
from scratchlab.lessons.outline import numbers, outline
from scratchlab.lessons.predict import Prediction
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step

Guess = TypeVar("Guess", bound=Prediction)


class Lesson:
    """One lesson, by number: `Lesson("07")`. An exercise's answer is looked up by name in `names`, the cell's own variables."""

    def __init__(self, number: str, names: Mapping[str, Any] | None = None) -> None:
        self.number, self.outline = number, outline(number)
        self._names = sys._getframe(1).f_globals if names is None else names
        self._end_earlier()
        self._boxes: list[Sandbox] = []
        self._folder: Folder | None = None
        self._groups: list[Group] = []
        self._host: Sandbox | None = None
        self._seen: Counter[tuple[str, int]] = Counter()  # how many hints, by exercise and by how far the answer had come
        self._tried: set[str] = set()
        self._done: set[str] = set()
        self._asked: dict[str, Prediction] = {}
        self._counted: set[str] = set()  # questions whose guess is written down
        self._before = Before.now()
        self._pid = os.getpid()
        _LESSONS.add(self)

    def __repr__(self) -> str:
        names = ", ".join(exercise.name for exercise in self.outline.exercises)
        return f"Lesson {self.number}: {self.outline.title}, {self.outline.minutes} minutes\n  exercise: {names}"

    # -- something to work on -----------------------------------------------------------------------------------------

    def sandbox(self) -> Sandbox:
        """A process with nothing isolated yet."""
        box = Sandbox(f"lesson-{self.number}")
        self._boxes.append(box)
        if self.outline.shared_host:
            box.play([step(weaknesses.stand_on, f"/proc/{self.host.pid}/ns/mnt")])
        return box

    @property
    def host(self) -> Sandbox:
        """A host to throw away: a process with a mount table of its own, in which every mount is shared."""
        if self._host is None or self._host.closed:
            self._host = shared_host()
            self._boxes.append(self._host)
        return self._host

    @property
    def folder(self) -> Path:
        """A folder for this lesson's files, gone when it is closed."""
        self._folder = self._folder or Folder.make(self.number)
        return self._folder.path

    def group(self, *controllers: str) -> str:
        """An empty control group of this lesson's, with these controllers: its path in the first one's tree. Gone when closed."""
        self._groups.append(Group.make(f"lesson-{self.number}", *controllers))
        return self._groups[-1].path

    def goto(self, point: str) -> Sandbox:
        """A sandbox that has come as far as a point of the lesson. The sandboxes before it are closed."""
        if point not in self.outline.points:
            raise InputError(
                f"lesson {self.number} has no point {point!r}", f"there is {', '.join(self.outline.points) or 'none'}"
            )
        for box in self._boxes:
            if box is not self._host:
                box.close()
        box = self.sandbox()
        box.play(self.outline.points[point])
        return box

    # -- questions ----------------------------------------------------------------------------------------------------

    def predict(self, question: str, options: Mapping[str, Any] | Sequence[str]) -> Prediction:
        """Ask before the run; `reveal(value)` afterwards sets the guess beside what the kernel said."""
        return self._as_before(Prediction(question, options, lambda right: self._count(question, right)))

    def belief(self, name: str) -> Question:
        """A question about what many believe; `reveal()` makes the experiment."""
        belief = beliefs.find(name, self.number)
        if belief is None:
            raise InputError(f"nobody believes {name!r}", f"there is {', '.join(beliefs.BELIEFS)}")
        return self._as_before(Question(belief, lambda right: self._count(belief.question, right)))

    def _count(self, question: str, right: bool) -> None:
        """Write the first guess down. Who runs the cell again knows the answer by then."""
        if question not in self._counted:
            progress.guessed(self.number, right)
            self._counted.add(question)

    def _as_before(self, asked: Guess) -> Guess:
        """With the guess that it had: who clicks an option selects that cell, and the next Shift-Enter runs it again."""
        before = self._asked.get(asked.question)
        if before and before.guess in asked.options:
            asked.guess = before.guess
        self._asked[asked.question] = asked
        return asked

    def ask(self, name: str) -> "Text":
        """What an exercise asks for."""
        return Text(dedent(self.outline.exercise(name).ask).strip())

    def check(self, name: str) -> Finding:
        """Let the answer do its work in a fresh sandbox, and judge it by what the kernel says."""
        exercise = self.outline.exercise(name)
        answer = self._names.get(exercise.answer)
        found = exercise.examine(answer)
        if callable(answer):
            self._tried.add(name)
        if found.done:
            self._done.add(name)
            progress.solved(self.number, name)
        return found

    def hint(self, name: str) -> "Text":
        """One hint more, for the point that the answer has reached by now."""
        exercise = self.outline.exercise(name)
        found = exercise.examine(self._names.get(exercise.answer))
        if found.done:
            return Text(f"{name} is done: no hint is needed")
        state = name, found.number
        self._seen[state] += 1
        number = min(self._seen[state], len(found.hints))
        last = "" if number < len(found.hints) else f'\n(that is the last hint here; after a try, lesson.solution("{name}"))'
        return Text(f"hint {number} of {len(found.hints)}: {found.hints[number - 1]}{last}")

    def solution(self, name: str) -> "Solution":
        """Our own answer, as a function and as its source. Raises InputError before an honest try."""
        exercise = self.outline.exercise(name)
        hinted = any(exercise_name == name for exercise_name, _ in self._seen)
        if name in self._done or (name in self._tried and hinted):
            return Solution(exercise)
        raise InputError(
            "a solution that you have not looked for teaches little",
            f'write `{exercise.answer}`: first lesson.check("{name}"), then lesson.hint("{name}")',
        )

    def progress(self) -> progress.Progress:
        """What you have done in all lessons."""
        record, rows = progress.read(), []
        for number in numbers():
            entry, of = record.get(number, {}), outline(number)
            done = {each.name for each in of.exercises} & {*entry.get("exercises", [])}
            rows.append((number, of.title, len(done), len(of.exercises), *entry.get("guesses", [0, 0])))
        return progress.Progress(tuple(rows))

    # -- machines that differ -----------------------------------------------------------------------------------------

    def by_version(self, controller: str, found: Any, known: Mapping[int, Any]) -> Cases:
        """What was found, beside what the other version of control groups does, and which of the two this machine has."""
        return by_version(controller, found, known)

    def only_disposable(self, act: Callable[[], Any], known: Any) -> Cases:
        """Do what acts on the whole machine, if it is one to throw away; else say what is known."""
        return by_disposal(act, known, is_disposable())

    # -- ending -------------------------------------------------------------------------------------------------------

    def close(self) -> Leaks:
        """Close everything of this lesson, and report what is left on the host."""
        boxes, folder, groups = self._boxes, self._folder, [group.path for group in self._groups]
        self._end()
        return self._before.leaks(boxes, folder.path if folder else None, groups)

    def _end(self) -> None:
        """Close everything. What cannot be closed keeps nothing else open."""
        with ExitStack() as last_first:
            for group in self._groups:
                last_first.callback(group.close)
            if self._folder:
                last_first.callback(self._folder.close)
            for box in self._boxes:
                last_first.callback(box.close)
            self._boxes, self._folder, self._groups = [], None, []

    def _end_earlier(self) -> None:
        """End the lesson that this one begins again: what it has made would be in the way, such as a published port."""
        for lesson in _held():
            if lesson.number == self.number and lesson._names is self._names:
                with suppress(SandboxError):  # its journal stays, and `clean` tries again
                    lesson._end()


# A lesson is held by more than its name: by each guess, which a notebook keeps in `Out`.
_LESSONS: WeakSet[Lesson] = WeakSet()


def _held() -> list[Lesson]:
    """The lessons of this process that somebody holds; not those of the process that has forked it."""
    return [lesson for lesson in _LESSONS if lesson._pid == os.getpid()]


@atexit.register
def _end_all() -> None:
    """At the end of the program: whoever stops in the middle of a lesson leaves nothing either."""
    for lesson in _held():
        with suppress(SandboxError):
            lesson._end()


class Text(str):
    """Text that a cell shows as it is."""

    def __repr__(self) -> str:
        return str(self)


class Solution(NamedTuple):
    """An exercise's solution: call it, or read it."""

    exercise: Exercise

    def __call__(self, *args: Any) -> Any:
        """Do it."""
        return self.exercise.solution(*args)

    def __repr__(self) -> str:
        return inspect.getsource(self.exercise.solution).rstrip()
