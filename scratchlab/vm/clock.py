"""Whether a guest's clock runs as fast as ours: it counts a processor's ticks, and measures once, as it boots, how fast they are.

On a busy computer that measure can be wrong by far. A guest that is given no time by its host while it measures a tenth of a
second believes that its processor is slow, and then all its seconds are too short, as long as it runs; in a snapshot, for ever.
"""

import time
from typing import NamedTuple

from scratchlab.vm.process import Process

_PATIENCE = 30.0
_TOLERANCE = 0.03
_GOOD_ENOUGH = 0.005  # seconds that a question may take
_ASKED = 20
_APART = 0.5  # seconds between two readings
_DOUBT = 0.01  # how uncertain a rate may be
_LONG_ENOUGH = 10.0  # seconds after which it is taken as it is


class Reading(NamedTuple):
    """What a guest's clock said when ours said this."""

    ours: float
    theirs: float
    mhz: float  # what the guest believes that its processor counts; 0 where none is measured
    took: float  # how long the question took


class Rate(NamedTuple):
    """How fast a guest's clock runs, where ours runs at 1."""

    rate: float
    mhz: float

    @property
    def is_right(self) -> bool:
        """Whether it is as good as ours."""
        return abs(self.rate - 1) < _TOLERANCE

    @property
    def correction(self) -> str:
        """What to tell the guest's kernel at its next boot, so that it need not measure."""
        return f"tsc_early_khz={self.mhz * self.rate * 1000:.0f}" if self.mhz else ""


def read(process: Process) -> Reading:
    """Ask for the time until an answer comes at once."""
    # Only then is it known to what time of ours it belongs.
    readings: list[Reading] = []
    for _ in range(_ASKED):
        begin = time.monotonic()
        process.say(do="clock")
        said = process.expect("clock", _PATIENCE)
        took = time.monotonic() - begin
        readings.append(Reading(begin + took / 2, said["seconds"], said["mhz"], took))
        if took < _GOOD_ENOUGH:
            break
    return min(readings, key=lambda reading: reading.took)


def measure(process: Process) -> Rate:
    """How fast the guest's clock runs, from two readings so far apart that what is uncertain of each hardly counts."""
    before = read(process)
    while True:
        time.sleep(_APART)
        after = read(process)
        apart = after.ours - before.ours
        if (before.took + after.took) / 2 < _DOUBT * apart or apart > _LONG_ENOUGH:
            return compare(before, after)


def compare(before: Reading, after: Reading) -> Rate:
    """How fast the guest's clock ran between two readings."""
    return Rate((after.theirs - before.theirs) / (after.ours - before.ours), after.mhz)
