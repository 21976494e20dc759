import os
import subprocess
from pathlib import Path

from scratchlab import linux
from scratchlab.linux import Clone, Mount
from tests.lessons.wrong.nothing import nothing


def a_link(path):
    linux.unshare(Clone.NEWUTS)
    linux.sethostname("kept")
    os.symlink("/proc/self/ns/uts", path)


def somebody_stays(_path):
    linux.unshare(Clone.NEWUTS)
    linux.sethostname("kept")
    subprocess.Popen(["sleep", "1000"])


def another_kind(path):
    Path(path).touch()
    linux.unshare(Clone.NEWIPC | Clone.NEWUTS)
    linux.sethostname("kept")
    linux.mount("/proc/self/ns/ipc", path, None, Mount.BIND)


def too_early(path):
    Path(path).touch()
    linux.mount("/proc/self/ns/uts", path, None, Mount.BIND)
    linux.unshare(Clone.NEWUTS)
    linux.sethostname("kept")


def no_name(path):
    Path(path).touch()
    linux.unshare(Clone.NEWUTS)
    linux.mount("/proc/self/ns/uts", path, None, Mount.BIND)


def renames_the_machine(path):
    Path(path).touch()
    linux.sethostname("kept")
    linux.unshare(Clone.NEWUTS)
    linux.mount("/proc/self/ns/uts", path, None, Mount.BIND)


ANSWERS = {
    "keep-it": {
        nothing: "a namespace is mounted at the path, when all processes have ended",
        a_link: "a namespace is mounted at the path, when all processes have ended",
        somebody_stays: "a namespace is mounted at the path, when all processes have ended",
        another_kind: "it is a UTS namespace",
        too_early: "it is a new one",
        no_name: "the hostname in it is kept",
        renames_the_machine: "the machine is called as before",
    },
}
