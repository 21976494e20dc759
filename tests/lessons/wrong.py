"""Wrong answers that people give, by exercise: each with the claim that it does not meet."""

import os
import shutil
import signal
import subprocess

from scratchlab import linux, stages
from scratchlab.lessons.course.lesson_02 import needed
from scratchlab.linux import Clone, Mount


def nothing(*_): ...


# -- 00 ---------------------------------------------------------------------------------------------------------------


def another_kind(box):
    box.apply(stages.unshare_ipc)


def only_unshares(box):
    box.apply(stages.unshare_uts)


def too_much(box):
    box.apply(stages.unshare_uts)
    box.apply(stages.unshare_pid)
    box.apply(stages.hostname, "alone")


# -- 01 ---------------------------------------------------------------------------------------------------------------


def raw_status(*argv):
    child = os.fork()
    if child == 0:
        os.execvp(argv[0], argv)
    return os.waitpid(child, 0)[1], None


def does_not_wait(*argv):
    child = os.fork()
    if child == 0:
        os.execvp(argv[0], argv)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # looks, and takes nothing away
    return 7, None


def negative_signal(*argv):
    child = os.fork()
    if child == 0:
        os.execvp(argv[0], argv)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), None


def child_goes_on(*argv):
    child = os.fork()
    if child == 0:
        try:
            os.execvp(argv[0], argv)
        except OSError:
            return 127, None
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return (code, None) if code >= 0 else (None, signal.Signals(-code).name)


# -- 02 ---------------------------------------------------------------------------------------------------------------


def only_the_program(root):
    os.makedirs(f"{root}/bin")
    shutil.copy("/bin/ls", f"{root}/bin/ls")


def without_mode(root):
    os.makedirs(f"{root}/bin")
    shutil.copyfile("/bin/ls", f"{root}/bin/ls")


def a_link(root):
    os.makedirs(f"{root}/bin")
    os.symlink("/usr/bin/ls", f"{root}/bin/ls")


def without_libraries(root):
    only_the_program(root)
    for loader in (path for path in needed() if "/ld-" in path):
        os.makedirs(root + os.path.dirname(loader), exist_ok=True)
        shutil.copy(loader, root + loader)


def all_in_one_place(root):
    without_libraries(root)
    for path in needed():
        shutil.copy(path, f"{root}/bin")


# -- 03 ---------------------------------------------------------------------------------------------------------------


def only_mounts():
    linux.mount("tmpfs", "/tmp", "tmpfs")


def only_leaves():
    linux.unshare(Clone.NEWNS)


def shared_still():
    linux.unshare(Clone.NEWNS)
    linux.mount("tmpfs", "/tmp", "tmpfs")


def private_too_late():
    linux.unshare(Clone.NEWNS)
    linux.mount("tmpfs", "/tmp", "tmpfs")
    linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)


def private_too_early():
    linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)
    linux.unshare(Clone.NEWNS)
    linux.mount("tmpfs", "/tmp", "tmpfs")


def only_the_root():
    linux.unshare(Clone.NEWNS)
    linux.mount(None, "/", None, Mount.PRIVATE)
    linux.mount("tmpfs", "/tmp", "tmpfs")


# -- 07 ---------------------------------------------------------------------------------------------------------------


def becomes_the_command(*command):
    os.execvp(command[0], command)


def ignores_signals(*command):
    return subprocess.run(command).returncode


def just_dies(*command):
    child = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    return child.wait()


def waits_for_one(*command):
    child = os.fork()
    if child == 0:
        os.execvp(command[0], command)
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(child, number))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def loses_the_status(*command):
    child = os.fork()
    if child == 0:
        os.execvp(command[0], command)
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(child, number))
    while os.wait()[0] != child:
        pass


ANSWERS = {
    "rename": {
        nothing: "the sandbox has left a namespace of the host",
        another_kind: "the namespace that it has left is the one with the hostname",
        too_much: "it has left no other",
        only_unshares: "inside, the hostname is alone",
    },
    "spawn": {
        nothing: "it comes back with something",
        does_not_wait: "no child is left behind as a zombie",
        raw_status: "a status is told as it is",
        negative_signal: "a signal is told by its name",
        child_goes_on: "a program that is not there is told as 127, and the child ends",
    },
    "smallest-root": {
        nothing: "the program is in the new root, at /bin/ls",
        without_mode: "it is a file that can be executed",
        a_link: "it is a file that can be executed",
        only_the_program: "its loader is where the program asks for it",
        without_libraries: "its libraries are where the loader looks for them",
        all_in_one_place: "its libraries are where the loader looks for them",
    },
    "own-tmp": {
        nothing: "/tmp is a tmpfs inside",
        only_leaves: "/tmp is a tmpfs inside",
        only_mounts: "the sandbox has a mount table of its own",
        shared_still: "nothing arrived on the host",
        private_too_late: "nothing arrived on the host",
        private_too_early: "the host's own mounts are shared as before",
        only_the_root: "no mount inside hears of the host any more",
    },
    "die-properly": {
        nothing: "the command runs",
        becomes_the_command: "it runs as a child of process 1",
        ignores_signals: "process 1 ends when it is asked to",
        just_dies: "the command was asked, too, and not killed",
        waits_for_one: "no orphan stays a zombie",
        loses_the_status: "the command's status comes out",
    },
}
