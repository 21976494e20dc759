"""Three kinds of boxes for a program: what they cost is measured, and what they have for themselves is asked of the kernel."""

import pytest

from scratchlab.lessons.course.lesson_18 import turned_around
from scratchlab.lessons.kinds import RECORDED, kinds, recorded
from tests.conftest import needs_root

pytestmark = needs_root


def test_a_container_has_an_uptime_and_no_kernel_and_no_date():
    process, container, machine = kinds()

    assert (container.own_kernel, container.own_date, container.own_uptime) == (False, False, True)
    assert (process.seen_by_host, container.seen_by_host, machine.seen_by_host) == (True, True, False)
    assert kinds().rank("start_ms") == kinds().rank("memory_kb") == ("process", "container", "machine")


def test_a_machine_that_cannot_be_started_here_is_compared_with_the_container_that_can():
    container = kinds().container
    slow = container._replace(start_ms=container.start_ms * 10)

    assert recorded(slow).start_ms == pytest.approx(10 * recorded(container).start_ms)
    assert not RECORDED.measured and recorded(container).start_ms > 5 * container.start_ms


def test_figures_say_where_they_come_from_and_the_table_has_none():
    here = kinds()
    elsewhere = here._replace(machine=recorded(here.container))

    assert "measured elsewhere" in elsewhere.figures and repr(elsewhere) == repr(here._replace(machine=RECORDED))
    assert not any(character.isdigit() for character in repr(here))


def test_a_fact_speaks_for_the_one_that_costs_less_or_has_more():
    container, machine = kinds().container, kinds().machine

    assert container.better("start_ms", machine) and not machine.better("start_ms", container)
    assert machine.better("own_kernel", container) and not container.better("own_kernel", machine)
    assert not machine.better("own_uptime", container) and not container.better("own_uptime", machine)
    assert turned_around(kinds()).machine.better("start_ms", turned_around(kinds()).container)
