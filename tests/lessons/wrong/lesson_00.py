from scratchlab import linux, stages
from tests.lessons.wrong.nothing import nothing


def another_kind(box):
    box.apply(stages.unshare_ipc)


def only_unshares(box):
    box.apply(stages.unshare_uts)


def too_much(box):
    box.apply(stages.unshare_uts)
    box.apply(stages.unshare_pid)
    box.apply(stages.hostname, "alone")


def the_name_first(box):
    box.apply(linux.sethostname, "alone")
    box.apply(stages.unshare_uts)


ANSWERS = {
    "rename": {
        nothing: "the sandbox has left a namespace of the host",
        another_kind: "the namespace that it has left is the one with the hostname",
        too_much: "it has left no other",
        the_name_first: "the host keeps its name",
        only_unshares: "inside, the hostname is alone",
    },
}
