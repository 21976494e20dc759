from scratchlab import linux, stages
from scratchlab.lessons.network import FORWARDING, cable, plug_in
from tests.lessons.wrong.nothing import nothing


def ends_are_down(left, middle, right):
    middle.apply(cable, "to-left", "eth0", left.pid)
    middle.apply(cable, "to-right", "eth0", right.pid)


def one_end_only(left, middle, right):
    middle.apply(cable, "to-left", "eth0", left.pid)
    middle.apply(plug_in, "to-left", "198.51.100.2/24")


def first_cable(left, middle, right):
    one_end_only(left, middle, right)
    left.apply(plug_in, "eth0", "198.51.100.1/24")


def no_routes(left, middle, right):
    first_cable(left, middle, right)
    middle.apply(cable, "to-right", "eth0", right.pid)
    middle.apply(plug_in, "to-right", "203.0.113.2/24")
    right.apply(plug_in, "eth0", "203.0.113.1/24")


def no_forwarding(left, middle, right):
    no_routes(left, middle, right)
    left.apply(stages.route, "198.51.100.2")
    right.apply(stages.route, "203.0.113.2")


def forwarding_at_the_wrong_place(left, middle, right):
    no_forwarding(left, middle, right)
    left.apply(linux.write_file, FORWARDING, "1")


def no_way_back(left, middle, right):
    no_routes(left, middle, right)
    left.apply(stages.route, "198.51.100.2")
    middle.apply(linux.write_file, FORWARDING, "1")


ANSWERS = {
    "three-in-a-row": {
        nothing: "left reaches middle, at 198.51.100.2",
        ends_are_down: "left reaches middle, at 198.51.100.2",
        one_end_only: "left reaches middle, at 198.51.100.2",
        first_cable: "right reaches middle, at 203.0.113.2",
        no_routes: "left knows a way to right",
        no_forwarding: "middle passes on what is not for itself",
        forwarding_at_the_wrong_place: "middle passes on what is not for itself",
        no_way_back: "right knows a way back",
    },
}
