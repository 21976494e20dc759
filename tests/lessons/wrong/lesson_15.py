from scratchlab import linux, stages
from scratchlab.linux import At, Mount, MountAttr
from tests.lessons.wrong.nothing import nothing


def in_one_call():
    linux.mount("/proc/sys", "/proc/sys", None, Mount.BIND | Mount.RDONLY)
    stages.mask("/proc/keys", "/sys/firmware")


def hides_the_switches():
    linux.mount("tmpfs", "/proc/sys", "tmpfs", Mount.RDONLY)
    stages.mask("/proc/keys", "/sys/firmware")


def only_what_is_written():
    stages.readonly("/proc/sys")


def only_files():
    stages.readonly("/proc/sys")
    stages.mask("/proc/keys")


def the_whole_proc():
    stages.mask("/proc/keys", "/sys/firmware")
    linux.mount_setattr("/proc", At.RECURSIVE, MountAttr.RDONLY)


ANSWERS = {
    "cover": {
        nothing: "no switch can be written to",
        in_one_call: "no switch can be written to",
        hides_the_switches: "each switch can be read",
        only_what_is_written: "/proc/keys reads as empty",
        only_files: "/sys/firmware has no entries",
        the_whole_proc: "the rest of /proc is as it was",
    },
}
