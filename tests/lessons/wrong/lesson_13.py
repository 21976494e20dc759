from scratchlab import stages
from tests.lessons.wrong.nothing import nothing

PORT = ["NET_BIND_SERVICE"]


def only_another_user(box):
    box.apply(stages.user, 1000)


def not_handed_on(box):
    box.apply(stages.user, 1000, keep_capabilities=True)
    box.apply(stages.capabilities, PORT)
    box.apply(stages.no_new_privs)


def still_root(box):
    box.apply(stages.capabilities, PORT)
    box.apply(stages.no_new_privs)


def one_more(box):
    box.apply(stages.user, 1000, keep_capabilities=True)
    box.apply(stages.ambient, [*PORT, "NET_ADMIN"])


def bounded_by_nothing(box):
    box.apply(stages.user, 1000, keep_capabilities=True)
    box.apply(stages.ambient, PORT)
    box.apply(stages.no_new_privs)


def without_the_promise(box):
    box.apply(stages.user, 1000, keep_capabilities=True)
    box.apply(stages.capabilities, PORT)
    box.apply(stages.ambient, PORT)


ANSWERS = {
    "port-80": {
        nothing: "it is not root",
        only_another_user: "a program that is started in there serves on port 80",
        not_handed_on: "a program that is started in there serves on port 80",
        still_root: "it is not root",
        one_more: "it has this capability, and no other",
        bounded_by_nothing: "no other can come back: its bounding set is as small",
        without_the_promise: "nothing that it executes gains anything",
    },
}
