"""A stage in four notations, the ledger of a step, and the matrix of attacks."""

import inspect

import pytest

from scratchlab import Container, linux, show, stages, views
from scratchlab.errors import InputError
from scratchlab.stages import STAGES, about
from scratchlab.trials.ablation import Ablation, ablate
from scratchlab.trials.trial import Verdict
from scratchlab.views.notations import symbolic
from tests.conftest import needs_root
from tests.views.reading import image


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_is_shown_in_all_its_notations(name):
    shown = show(STAGES[name])

    text = repr(shown)
    assert shown.side == about(STAGES[name]).side
    assert all(words in text for words in (about(STAGES[name]).shell, about(STAGES[name]).engine, *about(STAGES[name]).man))
    assert f"def {name}(" in shown.source and shown.source in inspect.getsource(inspect.unwrap(STAGES[name]))


def test_the_calls_of_a_stage_are_those_of_its_source_and_its_helpers():
    assert dict(show(stages.unshare_uts).notations)["calls"] == "unshare"
    assert dict(show(stages.pivot).notations)["calls"] == "mount, chdir, pivot_root, umount2"
    assert "netlink.send" in dict(show(stages.veth).notations)["calls"]


def test_a_function_of_the_learners_is_shown_too():
    def mine(name):
        linux.sethostname(name)
        return "```"

    shown = show(mine)

    assert (shown.side, dict(shown.notations)["calls"]) == ("inside", "sethostname")
    assert "\n````python\ndef mine(name):" in shown._repr_mimebundle_()["text/markdown"]
    assert shown._repr_mimebundle_()["text/plain"] == repr(shown)


@pytest.mark.parametrize("thing", [len, 3, None, "hostname", object()])
def test_what_has_no_source_is_refused(thing):
    with pytest.raises(InputError, match="no source"):
        show(thing)


# -- the ledger -------------------------------------------------------------------------------------------------------


@needs_root
def test_the_ledger_has_the_calls_that_were_made(box):
    box.apply(stages.unshare_uts)

    picture = views.ledger(box.apply(stages.hostname, "web"))

    assert 'sethostname(name="web", len=3) = 0' in repr(picture)
    assert "box.apply(stages.hostname, 'web')" in repr(picture) and about(stages.hostname).engine in repr(picture)
    assert box.run("hostname").out == "web"
    assert 'sethostname(name="web", len=3) = 0' in image(picture).words()


@needs_root
def test_the_ledger_of_a_learners_function_has_no_words_that_nobody_gave(box):
    def mine(name, *, again=False):
        linux.prctl(linux.Prctl.SET_NAME, name)

    picture = views.ledger(box.apply(mine, "me", again=True))

    assert picture.lines()[0] == "python   box.apply(mine, 'me', again=True)"
    assert not any(line.startswith(("shell", "engine")) for line in picture.lines())


@needs_root
def test_what_differs_from_run_to_run_is_shown_when_it_is_asked_for(box):
    box.apply(stages.unshare_net)
    applied = box.apply(stages.veth)

    assert str(box.pid) in repr(views.ledger(applied, exact=True))
    assert f"peer_netns={box.pid}" not in repr(views.ledger(applied)) and "peer_netns=PID" in repr(views.ledger(applied))


def test_numbers_of_one_run_become_words():
    assert symbolic('x(address="5e:e3:bb:82:54:0b", index=17, peer_netns=4711)') == 'x(address="MAC", index=N, peer_netns=PID)'
    assert symbolic('open(pathname="/proc/4711/ns/net") = 3') == 'open(pathname="/proc/PID/ns/net") = N'
    assert symbolic("setns(fd=3, nstype=NEWNET) = 0") == "setns(fd=N, nstype=NEWNET) = 0"
    assert symbolic('mount(data="size=64M", index="17")') == 'mount(data="size=64M", index="17")'


# -- the matrix -------------------------------------------------------------------------------------------------------


def verdict(outcome):
    return Verdict("", outcome, (), "", "")


def test_a_matrix_has_the_stages_that_matter_and_names_the_others():
    stages = ("pivot", "close_fds", "unshare_uts")
    outcomes = {
        "double_chroot": ("stopped", "stopped", "stopped"),
        "leaked_directory": ("stopped", "got out", "not tried"),
    }
    cells = {(name, stage): verdict(outcome) for name in outcomes for stage, outcome in zip(stages, outcomes[name], strict=True)}
    whole, bare = dict.fromkeys(outcomes, verdict("stopped")), dict.fromkeys(outcomes, verdict("got out"))

    found = Ablation(stages, whole, cells, bare)
    picture = views.matrix(found)

    assert (picture.stages, picture.idle) == (("close_fds",), ("pivot", "unshare_uts"))
    assert [line.split("   ")[-1].strip() for line in picture.lines()[1:3]] == ["all of pivot, capabilities", "close_fds"]
    words = image(picture).words()
    assert words.count("X") == 3 and words.count("·") == 3
    # In a notebook an ablation is this picture; its text stays its own.
    assert found._repr_mimebundle_()["text/html"] == picture._repr_mimebundle_()["text/html"]
    assert found._repr_mimebundle_()["text/plain"] == repr(found)


@needs_root
def test_the_matrix_of_a_real_ablation_says_what_was_found(rootfs):
    picture = views.matrix(ablate(Container(str(rootfs), ("true",), network="none"), "leaked_directory"))

    assert picture.stages == ("close_fds",)
    assert picture.lines()[1].split() == ["leaked_directory", "stopped", "close_fds"]
