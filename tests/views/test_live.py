"""The chart of a load: its numbers are the kernel's, it ends when it is told to, and says why it could not."""

import os
import time

import pytest

from scratchlab import Sandbox, display, stages, views
from scratchlab.errors import KernelError, SandboxError, ScratchlabError
from scratchlab.observe.usage import Sample, parse_pressure
from scratchlab.views import Chart
from scratchlab.views.chart import rate
from tests.conftest import eventually, needs_root
from tests.views.reading import image

BUSY = ("sh", "-c", "while :; do :; done")


def test_a_rate_is_the_difference_of_two_looks():
    before = Sample(1_000_000, 0, 10, 5, 100, {"cpu": 1000})
    after = Sample(1_050_000, 9, 20, 10, 300, {"cpu": 51_000, "memory": 7})

    seen = rate(before, after, seconds=0.1)

    assert (seen.cpu, seen.throttled, seen.memory) == (0.5, 0.5, 300)
    assert seen.pressure == {"cpu": 0.5, "memory": 0.0}  # what was not counted before is no news


def test_without_a_period_nothing_was_throttled():
    nothing = Sample(0, 0, 0, 0, 0, {})

    assert rate(nothing, nothing, 0.1).throttled == 0.0


@pytest.mark.parametrize(
    ("text", "usec"),
    [
        ("some avg10=0.00 avg60=0.00 avg300=0.00 total=2468\nfull avg10=0.00 total=1\n", 2468),
        ("full avg10=0.00 total=1", 0),
        ("", 0),
        ("some total=x", 0),
    ],
)
def test_pressure_is_the_time_that_some_process_waited(text, usec):
    assert parse_pressure(text) == usec


@needs_root
def test_a_busy_load_is_throttled_to_its_limit_and_the_kernel_says_the_same(box):
    box.apply(stages.cpu, 0.2)

    live = views.live(box, *BUSY, seconds=1.0).wait()

    chart = live.chart()
    assert not live.running and live.finished.timed_out
    used = sum(each.cpu * each.seconds for each in chart.rates) / sum(each.seconds for each in chart.rates)
    assert 0.05 < used < 0.5
    assert any(each.throttled == 1.0 for each in chart.rates)
    assert "at most 20 % of one CPU" in repr(live) and "throttled: had to wait" in repr(live)
    assert "cpu" in views.cgroup(box).lines()[0] and "throttled: had to wait" in repr(views.cgroup(box))


@needs_root
def test_stop_ends_the_load_and_nothing_of_it_runs_on(box):
    live = views.live(box, "sleep", "1000", seconds=600)
    assert live.running and "runs now" in repr(live)

    live.stop()

    assert live.finished.signal == "SIGTERM"
    assert eventually(lambda: [row.command for row in views.processes(box).rows].count("sleep"), 0) == 0


@needs_root
def test_a_load_that_ends_by_itself_is_not_waited_for(box):
    live = views.live(box, "true", seconds=600).wait()

    assert live.finished.ok


@needs_root
def test_what_cannot_be_executed_is_an_error_at_once(box):
    with pytest.raises(KernelError, match="execve"):
        views.live(box, "no-such-program")


@needs_root
def test_a_sandbox_that_is_closed_meanwhile_is_told_by_wait():
    with Sandbox("closed") as box:
        live = views.live(box, "sleep", "1000", seconds=600)
    with pytest.raises((ScratchlabError, OSError)):
        live.wait()
    assert not live.running
    with pytest.raises(SandboxError, match="gone"):
        views.live(box, "true")


@needs_root
def test_the_limit_moves_while_the_load_runs(box):
    box.apply(stages.cpu, 0.2)
    live = views.live(box, *BUSY, seconds=600)

    live.limit_cpu(0.5)
    limit = live.chart().cpu_limit
    live.stop()

    assert limit == 0.5
    assert [str(step) for step in box.steps][-1] == "cpu(0.5)"


@needs_root
def test_what_a_notebook_keeps_of_a_running_load_is_the_same_each_time(box):
    bundles = []
    for _ in range(2):
        live = views.live(box, "sleep", "1000", seconds=600)
        assert eventually(lambda found=live: len(found.chart().rates) > 1)
        bundles.append(live._repr_mimebundle_())
        live.stop()

    assert bundles[0] == bundles[1] and set(bundles[0]) == {"text/plain", "text/html"}
    assert image(live.chart()).alternative == repr(live)


@needs_root
def test_a_chart_of_nothing_is_still_a_chart():
    chart = Chart("web", ("true",), {})

    assert "no limit" in repr(chart)
    assert display.bundle(chart)["text/html"]


@needs_root
def test_a_load_that_nobody_holds_any_more_ends_with_its_sandbox():
    with Sandbox("forgotten") as box:
        views.live(box, "sleep", "1000", seconds=600)
        pid = box.pid
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not os.path.exists(f"/proc/{pid}")
