"""One trial: an attack in a fresh container, or in a sandbox that lives, and the host's word on whether it got out."""

import os
from collections.abc import Collection
from contextlib import ExitStack
from typing import Any, NamedTuple

from scratchlab.attacks import ATTACKS, Attack, Evidence, about, is_disposable
from scratchlab.attacks.attack import refuse_unless_disposable
from scratchlab.container import Container
from scratchlab.errors import GoneError, ScratchlabError, from_wire
from scratchlab.sandbox import Sandbox
from scratchlab.sandbox.steps import pack
from scratchlab.sandbox.wire import close_all
from scratchlab.stages import filesystem, step
from scratchlab.trials.baits import BAITS, Bait
from scratchlab.trials.hosts import HOST_WALLS, Guest, own_host, stand_on
from scratchlab.trials.lab import lab

GOT_OUT, STOPPED, NOT_TRIED = "got out", "stopped", "not tried"


class Verdict(NamedTuple):
    """How one attack ended."""

    attack: str
    outcome: str  # "got out", "stopped" or "not tried"
    walls: tuple[str, ...]  # those in place of which each one stops this attack, by its own word
    seen: str  # the attack's own evidence, or why it was not tried
    host: str  # what the host saw of it, if it got out

    @property
    def held(self) -> bool:
        """Whether it was stopped, or is one that this machine must not see."""
        spared = about(ATTACKS[self.attack]).disposable and not is_disposable()
        return self.outcome == STOPPED or (self.outcome == NOT_TRIED and spared)


def attempt(subject: Container | Sandbox, attack: Attack, careless: Collection[str] = ()) -> Verdict:
    """Try one attack, in a fresh container or in a living sandbox; `careless` are walls missing on the host."""
    name = attack.__name__
    near = os.path.realpath(subject.rootfs if isinstance(subject, Container) else _root_of(subject))
    walls = tuple(wall for wall in about(attack).stopped_by + about(attack).also if wall in _walls_of(subject) - {*careless})
    with ExitStack() as stack:
        try:
            if about(attack).disposable:
                refuse_unless_disposable(name)
            surroundings = stack.enter_context(lab(near, frozenset(careless)))
            bait = stack.enter_context(BAITS[name](surroundings, subject if isinstance(subject, Container) else None))
            box = _standing(stack, subject, bait)
            told = bait.told(box)
        except (ScratchlabError, OSError) as error:
            return Verdict(name, NOT_TRIED, walls, str(error).splitlines()[0], "")
        evidence = _evidence(box, attack, told) if about(attack).side == "inside" else attack(*told)
        saw = bait.look(evidence, box)
    return Verdict(name, GOT_OUT if saw else STOPPED, walls, evidence.seen, saw)


def _standing(stack: ExitStack, subject: Container | Sandbox, bait: Bait) -> Sandbox:
    """The sandbox to attack from, which is made for this trial or was there before."""
    if isinstance(subject, Sandbox):
        return subject
    container, first = bait.container or subject, bait.first
    if bait.host or "private_mounts" in container.left_out:
        host = bait.host or stack.enter_context(own_host())
        container, first = Guest(*container), (stand_on(host), *first)
    return stack.enter_context(container.started(first=first))


def _walls_of(subject: Container | Sandbox) -> set[str]:
    # What a plan would do to the host is no question here: where it would, the trial has another host.
    return HOST_WALLS | {item.name for item in (Guest(*subject).plan() if isinstance(subject, Container) else subject.steps)}


def _root_of(box: Sandbox) -> str:
    """The root filesystem that a sandbox was given, as the host names it."""
    roots = [str(item.args[0]) for item in box.steps if item.stage in (filesystem.pivot, filesystem.chroot) and item.args]
    return roots[-1] if roots else "/tmp/none"


def _evidence(box: Sandbox, attack: Attack, told: tuple[Any, ...]) -> Evidence:
    try:
        answer = box.ask({"do": "inside", "steps": [pack(step(attack, *told))], "ledger": False})
    except GoneError:
        return Evidence(False, "the whole sandbox was killed")
    close_all(answer.fds)
    if "error" in answer.body:
        return Evidence(False, str(from_wire(answer.body["error"])).splitlines()[0])
    return Evidence(**answer.body["ok"][0]["value"])
