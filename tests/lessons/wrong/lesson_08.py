import os

from scratchlab import linux
from tests.lessons.wrong.nothing import nothing


def only_says_so():
    os.setresuid(0, 0, 0)


def only_leaves():
    linux.unshare(linux.Clone.NEWUSER)


def map_before_the_namespace():
    linux.write_file("/proc/self/uid_map", "0 1000 1\n")
    linux.unshare(linux.Clone.NEWUSER)


def a_range_for_nothing():
    linux.unshare(linux.Clone.NEWUSER)
    linux.write_file("/proc/self/uid_map", "0 100000 65536\n")


def the_wrong_way_round():
    linux.unshare(linux.Clone.NEWUSER)
    linux.write_file("/proc/self/uid_map", "1000 0 1\n")


def still_oneself():
    linux.unshare(linux.Clone.NEWUSER)
    linux.write_file("/proc/self/uid_map", "1000 1000 1\n")


def no_groups():
    linux.unshare(linux.Clone.NEWUSER)
    linux.write_file("/proc/self/uid_map", "0 1000 1\n")


def no_promise():
    no_groups()
    linux.write_file("/proc/self/gid_map", "0 1000 1\n")


def promise_too_late():
    no_promise()
    linux.write_file("/proc/self/setgroups", "deny")


ANSWERS = {
    "become-root": {
        nothing: "it is in a user namespace of its own",
        only_says_so: "it is in a user namespace of its own",
        map_before_the_namespace: "it is in a user namespace of its own",
        only_leaves: "inside, its user id is 0",
        a_range_for_nothing: "inside, its user id is 0",
        the_wrong_way_round: "inside, its user id is 0",
        still_oneself: "inside, its user id is 0",
        no_groups: "and its group id is 0",
        no_promise: "and its group id is 0",
        promise_too_late: "and its group id is 0",
    },
}
