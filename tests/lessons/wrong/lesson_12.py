from scratchlab.linux import cgroupfs
from tests.lessons.wrong.nothing import nothing


def the_other_way_round(quiet, noisy):
    cgroupfs.limit(quiet, "cpu.weight", "10")
    cgroupfs.limit(noisy, "cpu.weight", "100")


def too_little(quiet, noisy):
    cgroupfs.limit(quiet, "cpu.weight", "120")


def a_ceiling(_quiet, noisy):
    cgroupfs.limit(noisy, "cpu.max", "1000 100000")


def both(quiet, noisy):
    cgroupfs.limit(noisy, "cpu.weight", "5")
    cgroupfs.limit(noisy, "cpu.max", "10000 100000")


def a_ceiling_for_each(quiet, noisy):
    cgroupfs.limit(noisy, "cpu.weight", "5")
    cgroupfs.limit(quiet, "cpu.max", "10000000 100000")  # a hundred CPUs: what it gets is the same


ANSWERS = {
    "favour": {
        nothing: "when both want it, the quiet one gets 3 times as much",
        the_other_way_round: "when both want it, the quiet one gets 3 times as much",
        too_little: "when both want it, the quiet one gets 3 times as much",
        a_ceiling: "the noisy one has no ceiling",
        both: "the noisy one has no ceiling",
        a_ceiling_for_each: "nor has the quiet one",
    },
}
